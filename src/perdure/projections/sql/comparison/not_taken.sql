-- What doesn't reach the rows of a build, each for a key; an empty text for all. $1 name, $2 version, $3 build
select key, global_position
from {schema}.parked_events
where name = $1 and version = $2 and build = $3
