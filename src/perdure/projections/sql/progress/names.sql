-- The names of all projections that were ever set up.
select distinct name
from {schema}.projections
order by name
