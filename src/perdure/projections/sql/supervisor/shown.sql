-- The build of a projection that the views show; no row if there are no views yet. $1 name
select version, build
from {schema}.projections
where name = $1 and is_shown
