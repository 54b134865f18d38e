-- Up to where the log can be read by any later statement without missing an event, and the last position drawn.
-- The event that was read last (null: none): $1 its position, $2 its id
select safe_position, last_drawn
from {schema}.safe_position()
where {schema}.is_known($1, $2)
