-- Each version of each projection, with its checkpoint: the rows of its tables follow from the log up to there.
-- A checkpoint is moved in the transaction that writes the rows, and only from the position where it is known to stand.
create table {schema}.projections (
    name text collate "C" not null,
    version integer not null check (version > 0),
    table_schema text not null,
    shape json not null,
    status text not null default 'running' check (status in ('running', 'paused')),
    global_position bigint not null default 0,
    event_id uuid,
    -- The event that failed, and why, while the projection is paused.
    error json,
    -- Whether this is the version that the views show.
    is_shown boolean not null default false,
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(),
    primary key (name, version)
) with (fillfactor = 50);
