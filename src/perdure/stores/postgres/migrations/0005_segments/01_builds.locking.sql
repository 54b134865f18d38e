-- A projection may be built several times from the same code, each build in tables of its own.
alter table {schema}.projections
add column build integer not null default 1 check (build > 0),
drop constraint projections_pkey,
add primary key (name, version, build)
