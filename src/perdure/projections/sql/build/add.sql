-- Begin a build of a projection. $1 name, $2 version, $3 build, $4 table_schema, $5 shape
insert into {schema}.projections (name, version, build, table_schema, shape)
values ($1, $2, $3, $4, $5)
