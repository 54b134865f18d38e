-- Up to where the log can be read by any later statement without missing an event, the last position drawn, and whether
-- the server is a standby, where a position above both may have been drawn and be on its way.
-- The event that was read last (null: none): $1 its position, $2 its id
select safe_position, last_drawn, pg_is_in_recovery() as is_standby
from {schema}.safe_position()
where {schema}.check_event_at($1, $2)
