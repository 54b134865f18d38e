-- The tables and views that a reader reads.
grant select on
    {schema}.events, {schema}.streams, {schema}.categories, {schema}.event_types, {schema}.snapshots, {schema}.published,
    {schema}.projections, {schema}.projection_segments, {schema}.projection_runners, {schema}.parked_events,
    {schema}.projection_actions, {schema}.inline_streams, {schema}.timers,
    {schema}.migrations, {schema}.roles
to {role}
