-- The events of a key that failed or wait, oldest first. $1 name, $2 version, $3 build, $4 key, $5 how many at most
select global_position, attempts
from {schema}.parked_events
where name = $1 and version = $2 and build = $3 and key = $4 and state <> 'skipped'
order by global_position
limit $5
