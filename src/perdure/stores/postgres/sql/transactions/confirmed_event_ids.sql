-- The ids of those events that are in the log for good. They may exist on this server alone, so something is written, and
-- its commit waits until a synchronous standby has everything up to here. $1 event_ids
select e.event_id, (select pg_logical_emit_message(true, 'perdure', '')) from {schema}.events e where e.event_id = any($1)
