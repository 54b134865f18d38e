-- Which migrations were applied, and when.
create table {schema}.migrations (
    number integer primary key,
    name text not null,
    -- How many of its statements were run: one that can't run in a transaction goes on there after a crash.
    steps integer not null default 0,
    -- Null while it is under way.
    applied_at timestamptz default clock_timestamp()
)
