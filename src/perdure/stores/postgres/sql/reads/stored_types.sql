-- Each stored type and version, with the number of its events, and the first and last position: one scan of the log.
select event_type, event_version, count(*), min(global_position), max(global_position)
from {schema}.events
group by event_type, event_version
order by event_type, event_version
