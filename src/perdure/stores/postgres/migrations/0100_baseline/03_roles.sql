-- The rights granted to each role. After a migration they are granted again, to cover what the migration added.
create table {schema}.roles (
    role text not null,
    kind text not null check (kind in ('reader', 'writer', 'projector')),
    granted_at timestamptz not null default clock_timestamp(),
    primary key (role, kind)
);
