-- Begin a version of a projection. $1 name, $2 version, $3 table_schema, $4 shape
insert into {schema}.projections (name, version, table_schema, shape)
values ($1, $2, $3, $4)
