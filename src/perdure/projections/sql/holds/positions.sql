-- The lowest and the highest position of the segments of builds, and whether a segment is paused.
-- $1 name, $2 versions, $3 builds
select coalesce(min(global_position), 0) as slowest, coalesce(max(global_position), 0) as furthest,
    coalesce(bool_or(status = 'paused'), false) as is_paused
from {schema}.projection_segments
where name = $1 and (version, build) in (select * from unnest($2::integer[], $3::integer[]))
