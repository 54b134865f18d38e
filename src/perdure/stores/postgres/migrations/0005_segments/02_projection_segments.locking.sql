-- The pieces of a build, by the hash of a row's key, each with a checkpoint of its own. Who has the lease of a segment
-- may move it; its epoch is counted up with each new owner, so that one who slept through the end of a lease is known.
create table {schema}.projection_segments (
    name text collate "C" not null,
    version integer not null,
    build integer not null,
    first_hash integer not null check (first_hash >= 0),
    last_hash integer not null check (last_hash < 65536),
    global_position bigint not null default 0,
    event_id uuid,
    status text not null default 'running' check (status in ('running', 'paused')),
    -- The event that failed, and why, when that is the reason for the pause.
    error json,
    owner text,
    leased_until timestamptz,
    epoch bigint not null default 0,
    updated_at timestamptz not null default clock_timestamp(),
    primary key (name, version, build, first_hash),
    foreign key (name, version, build) references {schema}.projections on delete cascade,
    check (first_hash <= last_hash)
) with (fillfactor = 50)
