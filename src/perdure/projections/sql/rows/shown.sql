-- The build that the views of a projection show. $1 name
select version, build, table_schema, shape
from {schema}.projections
where name = $1 and is_shown
