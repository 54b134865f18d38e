-- Lease segments that have no valid lease. A segment that its owner is working on is locked, and is left to that owner.
-- $1 name, $2 version, $3 build, $4 owner, $5 lease in seconds, $6 how many at most
update {schema}.projection_segments as s
set owner = $4, epoch = s.epoch + 1, leased_until = clock_timestamp() + make_interval(secs => $5)
from (
    select first_hash
    from {schema}.projection_segments
    where name = $1 and version = $2 and build = $3
        and (leased_until is null or leased_until <= clock_timestamp())
    order by first_hash
    limit $6
    for update skip locked
) as free
where s.name = $1 and s.version = $2 and s.build = $3 and s.first_hash = free.first_hash
