-- Let the paused segments of a projection go on. $1 name; each one's build
update {schema}.projection_segments as s
set status = 'running', error = null, updated_at = clock_timestamp()
from (
    select version, build, first_hash
    from {schema}.projection_segments
    where name = $1 and status = 'paused'
    order by version, build, first_hash
    for update
) as paused
where s.name = $1 and s.version = paused.version and s.build = paused.build and s.first_hash = paused.first_hash
returning s.version, s.build
