-- Pause a projection where it is known to stand; no row when somebody else moved it. $1 name, $2 version,
-- $3 global_position, $4 error
update {schema}.projections
set status = 'paused', error = $4, updated_at = clock_timestamp()
where name = $1 and version = $2 and global_position = $3 and status = 'running'
returning true
