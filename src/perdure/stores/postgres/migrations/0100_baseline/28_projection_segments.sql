-- The segments of a build, by the hash of a row's key. The rows of a segment include the log up to its checkpoint.
-- Only the owner of the lease moves the checkpoint, in the transaction that writes the rows. Each new owner increments the
-- epoch, so that a process that was suspended beyond the end of its lease is detected.
create table {schema}.projection_segments (
    name text collate "C" not null,
    version integer not null,
    build integer not null,
    first_hash integer not null check (first_hash >= 0),
    last_hash integer not null check (last_hash < 65536),
    global_position bigint not null default 0,
    event_id uuid,
    status text not null default 'running' check (status in ('running', 'paused')),
    -- The event that failed, and why, if that is the reason for the pause.
    error json,
    owner text,
    leased_until timestamptz,
    epoch bigint not null default 0,
    -- A position that the segment may not pass until held_until, so that two builds can be compared there.
    hold_at bigint,
    held_until timestamptz,
    updated_at timestamptz not null default clock_timestamp(),
    primary key (name, version, build, first_hash),
    foreign key (name, version, build) references {schema}.projections on delete cascade,
    check (first_hash <= last_hash)
) with (fillfactor = 50);
