-- The position up to which later statements can read the log without missing an event, the last position drawn, and whether
-- the server is a standby. On a standby, a higher position may have been drawn already that hasn't arrived yet.
-- The event that was read last (null: none): $1 its position, $2 its id
select safe_position, last_drawn, pg_is_in_recovery() as is_standby
from {schema}.safe_position()
where {schema}.check_event_at($1, $2)
