-- The ids of those events that are in the log. $1 event_ids
select e.event_id from {schema}.events e where e.event_id = any($1)
