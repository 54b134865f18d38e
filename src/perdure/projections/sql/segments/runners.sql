-- The live runners of a build. $1 name, $2 version, $3 build
select runner
from {schema}.projection_runners
where name = $1 and version = $2 and build = $3 and expires_at > clock_timestamp()
order by runner
