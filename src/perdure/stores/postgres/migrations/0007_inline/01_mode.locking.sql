-- Who keeps a build: a service that follows the log, or the appends themselves.
alter table {schema}.projections
add column mode text not null default 'async' check (mode in ('async', 'inline'))
