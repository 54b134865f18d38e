-- Let a paused projection go on. $1 name, $2 version
update {schema}.projections
set status = 'running', error = null, updated_at = clock_timestamp()
where name = $1 and version = $2 and status = 'paused'
