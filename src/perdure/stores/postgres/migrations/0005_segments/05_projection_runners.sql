-- The processes that run a build, each as long as it is heard of: they share its segments.
create unlogged table {schema}.projection_runners (
    name text collate "C" not null,
    version integer not null,
    build integer not null,
    runner text not null,
    seen_until timestamptz not null,
    -- How many events of the log it takes in a second.
    rate real not null default 0,
    -- What keeps it from going on, other than an event.
    trouble text,
    primary key (name, version, build, runner)
)
