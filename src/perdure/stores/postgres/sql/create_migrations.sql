-- Which migrations were applied, and when.
create table if not exists {schema}.migrations (
    number integer primary key,
    name text not null,
    applied_at timestamptz not null default clock_timestamp()
)
