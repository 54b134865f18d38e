-- What was set up of a version of a projection. $1 name, $2 version
select table_schema, shape
from {schema}.projections
where name = $1 and version = $2
