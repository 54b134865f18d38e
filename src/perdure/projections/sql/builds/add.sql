-- Add a build of a projection. $1 name, $2 version, $3 build, $4 table_schema, $5 shape, null until its tables exist,
-- $6 whether it is shown as soon as it is complete, $7 mode
insert into {schema}.projections (name, version, build, table_schema, shape, switches_automatically, mode)
values ($1, $2, $3, $4, $5, $6, $7)
