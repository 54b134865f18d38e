-- The builds of projections. A projection may be built several times from the same code, each build in tables of its own.
create table {schema}.projections (
    name text collate "C" not null,
    version integer not null check (version > 0),
    build integer not null default 1 check (build > 0),
    -- What keeps the rows up to date: a service that follows the log, or the appends themselves.
    mode text not null default 'async' check (mode in ('async', 'inline')),
    table_schema text not null,
    -- The tables of the build; null until a process that has the code makes them.
    shape json,
    -- building: it reads the log from the beginning. ready: it is complete, and was never shown. retained: it was shown.
    stage text not null default 'building' check (stage in ('building', 'ready', 'retained')),
    -- Whether the views show it.
    is_shown boolean not null default false,
    -- Whether it is shown as soon as it is ready, or an operator has to switch to it.
    switches_automatically boolean not null default true,
    -- Counts the switches of a projection: the build with the highest number is shown, the next one was shown before.
    switch_number bigint not null default 0,
    -- How its rows differ from those of the build that was shown when it was ready.
    differences json,
    created_at timestamptz not null default clock_timestamp(),
    primary key (name, version, build)
) with (fillfactor = 50);
