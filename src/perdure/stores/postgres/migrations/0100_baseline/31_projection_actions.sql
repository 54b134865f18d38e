-- The audit log of projections: what was done to them, by whom, and why.
create table {schema}.projection_actions (
    number bigint generated always as identity primary key,
    name text collate "C" not null,
    version integer not null,
    build integer not null,
    action text not null,
    actor text not null,
    reason text,
    detail json,
    done_at timestamptz not null default clock_timestamp()
);
