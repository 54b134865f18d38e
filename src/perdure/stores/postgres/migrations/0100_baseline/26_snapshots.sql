-- The latest snapshot of each stream. A cache: deleting it costs time, and loses nothing.
create table {schema}.snapshots (
    stream_id text collate "C" primary key,
    stream_version integer not null check (stream_version > 0),
    event_id uuid not null,
    state_version integer not null,
    state_shape text not null,
    state json not null,
    recorded_at timestamptz not null default clock_timestamp()
);
