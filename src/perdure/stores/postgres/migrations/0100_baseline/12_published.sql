-- One row, for those who read on a standby: the standby has every event up to here that will ever be committed.
create table {schema}.published (
    is_only boolean primary key default true check (is_only),
    global_position bigint not null default 0,
    published_at timestamptz not null default clock_timestamp()
) with (fillfactor = 10);
