-- The names of all projections.
select distinct name
from {schema}.projections
order by name
