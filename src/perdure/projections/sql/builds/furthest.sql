-- The furthest checkpoint of all builds of a projection; no row if there are none. $1 name
select global_position, event_id
from {schema}.projection_segments
where name = $1
order by global_position desc
limit 1
