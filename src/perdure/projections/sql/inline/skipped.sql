-- The positions of skipped events. $1 name, $2 version, $3 build
select distinct global_position
from {schema}.parked_events
where name = $1 and version = $2 and build = $3 and state = 'skipped'
