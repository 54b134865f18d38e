-- Renew the leases of an owner. $1 name, $2 version, $3 build, $4 owner, $5 lease in seconds
update {schema}.projection_segments
set leased_until = clock_timestamp() + make_interval(secs => $5)
where name = $1 and version = $2 and build = $3 and owner = $4
