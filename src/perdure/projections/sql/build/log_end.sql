-- The position of the last event that is visible now.
select coalesce(max(global_position), 0)
from {schema}.events
