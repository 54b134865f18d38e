-- The processes that run a build and share its segments. A process that doesn't renew its row in time counts as gone.
create unlogged table {schema}.projection_runners (
    name text collate "C" not null,
    version integer not null,
    build integer not null,
    runner text not null,
    expires_at timestamptz not null,
    -- Events of the log that it processes in a second.
    rate real not null default 0,
    -- The error that prevents progress, unless an event caused it.
    error text,
    primary key (name, version, build, runner)
);
