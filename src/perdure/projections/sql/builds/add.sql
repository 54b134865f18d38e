-- Add a build of a projection. $1 name, $2 version, $3 build, $4 table_schema, $5 shape, null until its tables exist,
-- $6 whether it is shown as soon as it is complete, $7 mode, $8 kind, $9 start_position, $10 start_event_id
insert into {schema}.projections (
    name, version, build, table_schema, shape, switches_automatically, mode, kind, start_position, start_event_id
)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
