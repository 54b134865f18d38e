-- Pause or resume all segments of a projection. The row order is the same for all callers, so that they can't deadlock.
-- $1 name, $2 status to change from, $3 status to change to; returns the build of each changed segment
update {schema}.projection_segments as s
set status = $3, error = null, updated_at = clock_timestamp()
from (
    select version, build, first_hash
    from {schema}.projection_segments
    where name = $1 and status = $2
    order by version, build, first_hash
    for update
) as changed
where s.name = $1 and s.version = changed.version and s.build = changed.build and s.first_hash = changed.first_hash
returning s.version, s.build
