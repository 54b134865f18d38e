-- To which roles rights were granted, and which: after a migration they are granted again, for what it has added.
create table {schema}.roles (
    role text not null,
    kind text not null check (kind in ('reader', 'writer', 'projector')),
    granted_at timestamptz not null default clock_timestamp(),
    primary key (role, kind)
);
