-- Skip a parked event, and return the build and key of each row. $1 name, $2 global_position, $3 key, or null for all
-- keys
update {schema}.parked_events
set state = 'skipped', is_retry_requested = false
where name = $1 and global_position = $2 and state <> 'skipped' and ($3::text is null or key = $3)
returning version, build, key
