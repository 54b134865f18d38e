-- The id of the event at a position; no row if there is none. $1 global_position
select event_id
from {schema}.events
where global_position = $1
