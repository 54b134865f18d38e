-- A build may be asked for before its tables are there: its shape is empty until then. It is built, then ready to be
-- shown, then kept, beside the one that is shown, too, for whoever wants to go back.
alter table {schema}.projections
alter column shape drop not null,
add column stage text not null default 'building' check (stage in ('building', 'ready', 'kept')),
-- Whether it is shown as soon as it is ready, or waits for somebody to say so.
add column switches_by_itself boolean not null default true,
-- Counts the switches of a projection: the highest number is shown, the next one was shown before.
add column switch_number bigint not null default 0,
-- In what its rows differ from those of the build that is shown.
add column findings json
