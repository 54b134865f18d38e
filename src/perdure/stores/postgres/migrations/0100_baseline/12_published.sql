-- One row, for readers on a standby. A standby that shows this position has every event up to it that will ever be
-- committed.
create table {schema}.published (
    is_only boolean primary key default true check (is_only),
    global_position bigint not null default 0,
    published_at timestamptz not null default clock_timestamp()
) with (fillfactor = 10);
