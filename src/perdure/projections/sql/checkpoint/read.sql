-- Where a projection stands. $1 name, $2 version
select global_position, event_id, status, error
from {schema}.projections
where name = $1 and version = $2
