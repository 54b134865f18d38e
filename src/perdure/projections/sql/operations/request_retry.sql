-- Request a retry of failed events, and return the build, key and position of each. $1 name, $2 global_position or
-- null, $3 event_type or null, $4 kind of failure or null, $5 key or null
update {schema}.parked_events
set is_retry_requested = true
where name = $1 and state = 'failed'
    and ($2::bigint is null or global_position = $2)
    and ($3::text is null or event_type = $3)
    and ($4::text is null or error ->> 'kind' = $4)
    and ($5::text is null or key = $5)
returning version, build, key, global_position
