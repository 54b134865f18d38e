-- The live runners of projections. $1 name or null
select name, version, build, runner, rate, trouble
from {schema}.projection_runners
where seen_until > clock_timestamp() and ($1::text is null or name = $1)
order by name, version, build, runner
