-- What a reader reads: the log, what is kept beside it, and the views for people.
grant select on
    {schema}.events, {schema}.streams, {schema}.categories, {schema}.event_types,
    {schema}.snapshots, {schema}.projections, {schema}.migrations, {schema}.roles
to {role}
