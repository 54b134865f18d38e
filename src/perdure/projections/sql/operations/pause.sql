-- Pause all segments of a projection, in an order that those who do it at once share. $1 name; each paused one's build
update {schema}.projection_segments as s
set status = 'paused', updated_at = clock_timestamp()
from (
    select version, build, first_hash
    from {schema}.projection_segments
    where name = $1 and status = 'running'
    order by version, build, first_hash
    for update
) as running
where s.name = $1 and s.version = running.version and s.build = running.build and s.first_hash = running.first_hash
returning s.version, s.build
