-- The events that were parked or skipped, each for a key; the empty string means all keys. $1 name, $2 version, $3
-- build
select key, global_position
from {schema}.parked_events
where name = $1 and version = $2 and build = $3
