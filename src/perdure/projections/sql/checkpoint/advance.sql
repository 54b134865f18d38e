-- Move a checkpoint from where it is known to stand; no row when somebody else moved it, or paused the projection.
-- $1 name, $2 version, $3 global_position so far, $4 global_position, $5 event_id
update {schema}.projections
set global_position = $4, event_id = $5, updated_at = clock_timestamp()
where name = $1 and version = $2 and global_position = $3 and status = 'running'
returning name
