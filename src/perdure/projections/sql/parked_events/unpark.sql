-- Delete parked events that were processed; a row for each. $1 name, $2 version, $3 build, $4 key, $5 positions
delete from {schema}.parked_events
where name = $1 and version = $2 and build = $3 and key = $4 and global_position = any($5::bigint[])
    and state <> 'skipped'
returning global_position
