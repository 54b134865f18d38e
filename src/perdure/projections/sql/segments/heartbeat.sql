-- Record the heartbeat of a runner. $1 name, $2 version, $3 build, $4 runner, $5 lease in seconds, $6 rate, $7 error
insert into {schema}.projection_runners (name, version, build, runner, expires_at, rate, error)
values ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => $5), $6, $7)
on conflict (name, version, build, runner) do update
set expires_at = excluded.expires_at, rate = excluded.rate, error = excluded.error
