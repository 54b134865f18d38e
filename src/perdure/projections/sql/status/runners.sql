-- The live runners of projections. $1 name or null
select name, version, build, runner, rate, error
from {schema}.projection_runners
where expires_at > clock_timestamp() and ($1::text is null or name = $1)
order by name, version, build, runner
