-- Up to where the log can be read by any later statement without missing an event, and the last position drawn.
select safe_position, last_drawn from {schema}.safe_position()
