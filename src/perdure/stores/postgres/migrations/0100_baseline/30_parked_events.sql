-- The events that a build doesn't show: those that failed, those that wait behind one of the same key, and those that an
-- operator skipped. The events themselves are in the log.
create table {schema}.parked_events (
    name text collate "C" not null,
    version integer not null,
    build integer not null,
    -- The key of the row, as JSON; an empty text for an event that was skipped as a whole.
    key text collate "C" not null,
    hash integer,
    global_position bigint not null,
    event_id uuid not null,
    event_type text not null,
    stream_id text not null,
    stream_version bigint not null,
    state text not null check (state in ('failed', 'waiting', 'skipped')),
    error json,
    attempts integer not null default 0,
    -- Whether an operator asked the owner of the segment to retry this key.
    is_retry_requested boolean not null default false,
    parked_at timestamptz not null default clock_timestamp(),
    primary key (name, version, build, key, global_position),
    foreign key (name, version, build) references {schema}.projections on delete cascade
);
