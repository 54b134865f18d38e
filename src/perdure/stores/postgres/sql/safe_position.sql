-- Up to where the log can be read by any later statement without missing an event.
select {schema}.safe_position()
