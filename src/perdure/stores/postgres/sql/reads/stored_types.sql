-- Each type in each version that there is, how many events, and where they begin and end: one scan of the log.
select event_type, event_version, count(*), min(global_position), max(global_position)
from {schema}.events
group by event_type, event_version
order by event_type, event_version
