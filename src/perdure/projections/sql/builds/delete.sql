-- Delete a build, with its segments and parked events. $1 name, $2 version, $3 build
delete from {schema}.projections
where name = $1 and version = $2 and build = $3
