-- Parked events, oldest first; all rows of the last event are included. $1 name or null, $2 states or null, $3
-- event_type or null, $4 kind of failure or null, $5 only after this position, $6 how many rows at most
select name, version, build, key, global_position, event_id, event_type, stream_id, stream_version, state, error,
    attempts, is_retry_requested, parked_at
from {schema}.parked_events
where ($1::text is null or name = $1)
    and ($2::text[] is null or state = any($2))
    and ($3::text is null or event_type = $3)
    and ($4::text is null or error ->> 'kind' = $4)
    and global_position > $5
order by global_position
fetch first $6 rows with ties
