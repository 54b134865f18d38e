-- The number of segments of a build. $1 name, $2 version, $3 build
select count(*)
from {schema}.projection_segments
where name = $1 and version = $2 and build = $3
