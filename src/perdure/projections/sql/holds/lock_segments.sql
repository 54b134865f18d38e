-- Keep a build where it is until the transaction ends, once its batches under way are done; the furthest position.
-- $1 name, $2 version, $3 build
with locked as (
    select global_position
    from {schema}.projection_segments
    where name = $1 and version = $2 and build = $3
    order by first_hash
    for update
)
select coalesce(max(global_position), 0)
from locked
