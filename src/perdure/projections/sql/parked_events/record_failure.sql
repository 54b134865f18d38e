-- Record another failure of a parked event; a row if it is still parked. $1 name, $2 version, $3 build, $4 key, $5
-- global_position, $6 error, $7 after how many seconds it is tried again, or null
update {schema}.parked_events
set state = 'failed', error = $6, attempts = attempts + 1, is_retry_requested = false,
    retry_at = clock_timestamp() + make_interval(secs => $7::float8)
where name = $1 and version = $2 and build = $3 and key = $4 and global_position = $5 and state <> 'skipped'
returning global_position
