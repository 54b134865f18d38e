-- Wait for the batches in progress of a build, and keep it at its position until the transaction ends. Returns the
-- position of its furthest segment. $1 name, $2 version, $3 build
with locked as (
    select global_position
    from {schema}.projection_segments
    where name = $1 and version = $2 and build = $3
    order by first_hash
    for update
)
select coalesce(max(global_position), 0)
from locked
