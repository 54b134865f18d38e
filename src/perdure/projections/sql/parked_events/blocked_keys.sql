-- The keys that have parked events, and whether the first of those is to be retried: on request, because its time has
-- come, or because it only waited for an event that is no longer parked. $1 name, $2 version, $3 build
select distinct on (key) key, hash,
    is_retry_requested or state = 'waiting' or coalesce(retry_at <= clock_timestamp(), false) as is_retry_requested
from {schema}.parked_events
where name = $1 and version = $2 and build = $3 and state <> 'skipped'
order by key, global_position
