-- Which of these event ids are stored. $1 event_ids
select event_id
from {schema}.events
where event_id = any($1)
