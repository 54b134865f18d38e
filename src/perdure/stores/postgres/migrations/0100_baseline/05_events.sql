-- The log: every event, once, at its position, for ever.
create table {schema}.events (
    -- The insert itself draws the position, because the fence covers only positions that are drawn under it.
    -- CACHE must stay 1: a cached value would lie below what safe_position() promises.
    global_position bigint not null
        generated always as identity (sequence name {schema}.global_position cache 1 no cycle) primary key,
    stream_id text collate "C" not null,
    stream_version integer not null check (stream_version > 0),
    event_id uuid not null,
    event_type text collate "C" not null,
    event_version smallint not null,
    category text collate "C" not null generated always as (split_part(stream_id, '-', 1)) stored,
    event_data json not null,
    metadata json not null,
    recorded_at timestamptz not null default clock_timestamp(),
    -- The last guard of optimistic concurrency: no version is written twice.
    constraint events_stream_version unique (stream_id, stream_version),
    -- The last guard of idempotence: no event is written twice.
    constraint events_event_id unique (event_id),
    -- Every event can be read again, whichever client wrote it. One call, because PostgreSQL reads and plans the expression of
    -- a constraint again for each statement.
    constraint events_readable check ({schema}.check_event(stream_id, event_type, event_version, event_data, metadata))
);
