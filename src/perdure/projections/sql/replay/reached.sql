-- The position up to which all segments of a build are. $1 name, $2 version, $3 build
select min(global_position)
from {schema}.projection_segments
where name = $1 and version = $2 and build = $3
