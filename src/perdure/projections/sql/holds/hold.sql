-- Hold builds at the position of their furthest segment, so that all segments can reach it, and return that position.
-- This waits for batches in progress: no segment moves beyond the position afterwards.
-- $1 name, $2 versions, $3 builds, $4 seconds until the hold expires
with locked as (
    select version, build, first_hash, global_position
    from {schema}.projection_segments
    where name = $1 and (version, build) in (select * from unnest($2::integer[], $3::integer[]))
    order by version, build, first_hash
    for update
),
furthest as (
    select max(global_position) as global_position
    from locked
),
held as (
    update {schema}.projection_segments as s
    set hold_at = furthest.global_position, held_until = clock_timestamp() + make_interval(secs => $4)
    from locked, furthest
    where s.name = $1 and s.version = locked.version and s.build = locked.build and s.first_hash = locked.first_hash
)
select global_position
from furthest
