-- How many of some segments still have this owner and epoch, and are at a position or beyond it.
-- $1 name, $2 version, $3 build, $4 owner, $5 first hashes, $6 their epochs, $7 global_position
select count(*)
from {schema}.projection_segments as s
join unnest($5::integer[], $6::bigint[]) as asked (first_hash, epoch) using (first_hash, epoch)
where s.name = $1 and s.version = $2 and s.build = $3 and s.owner = $4 and s.global_position >= $7
