-- The last event up to a position; no row if there is none. $1 global_position
select global_position, event_id
from {schema}.events
where global_position <= $1
order by global_position desc
limit 1
