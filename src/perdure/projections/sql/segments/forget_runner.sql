-- Delete a runner that stops, and runners whose last heartbeat expired an hour ago. $1 name, $2 version, $3 build,
-- $4 runner
delete from {schema}.projection_runners
where name = $1 and version = $2 and build = $3
    and (runner = $4 or expires_at < clock_timestamp() - interval '1 hour')
