-- What was set up of a build. $1 name, $2 version, $3 build
select table_schema, shape
from {schema}.projections
where name = $1 and version = $2 and build = $3
