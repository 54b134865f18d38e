-- The keys whose events wait, each with whether it is to be looked at: when somebody asks for it, or when nothing
-- stands before the events that wait. $1 name, $2 version, $3 build
select distinct on (key) key, hash, is_retry_requested or state = 'waiting' as is_retry_requested
from {schema}.parked_events
where name = $1 and version = $2 and build = $3 and state <> 'skipped'
order by key, global_position
