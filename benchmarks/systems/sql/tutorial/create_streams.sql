-- The version of each stream.
create table if not exists streams (
    stream_id text primary key, version integer not null, updated_at timestamptz not null default now()
)
