-- How many events of a build are parked. $1 name, $2 version, $3 build
select count(*)
from {schema}.parked_events
where name = $1 and version = $2 and build = $3 and state <> 'skipped'
