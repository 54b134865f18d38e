-- In how many pieces a build is. $1 name, $2 version, $3 build
select count(*)
from {schema}.projection_segments
where name = $1 and version = $2 and build = $3
