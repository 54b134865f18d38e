-- Have a runner count as alive amid a long batch. $1 name, $2 version, $3 build, $4 runner, $5 lease in seconds
update {schema}.projection_runners
set expires_at = clock_timestamp() + make_interval(secs => $5)
where name = $1 and version = $2 and build = $3 and runner = $4
