-- The log.
create table if not exists events (
    id bigserial primary key,
    stream_id text not null,
    version integer not null,
    event_id uuid not null unique,
    event_type text not null,
    data jsonb not null,
    metadata jsonb not null,
    created_at timestamptz not null default now(),
    unique (stream_id, version)
)
