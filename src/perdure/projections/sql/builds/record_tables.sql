-- Record that the tables of a build were created. $1 name, $2 version, $3 build, $4 shape
update {schema}.projections
set shape = $4
where name = $1 and version = $2 and build = $3
