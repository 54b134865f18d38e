-- For those who read on a standby: up to here, the standby has every event that will ever be committed. One row.
create table {schema}.published (
    is_only boolean primary key default true check (is_only),
    global_position bigint not null default 0,
    published_at timestamptz not null default clock_timestamp()
) with (fillfactor = 10)
