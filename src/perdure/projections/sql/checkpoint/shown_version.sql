-- The version of a projection that the views show, null when there are no views yet. $1 name
select max(version)
from {schema}.projections
where name = $1 and is_shown
