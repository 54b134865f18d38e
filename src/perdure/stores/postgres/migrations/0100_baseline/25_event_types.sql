-- For people to query: each type of event and version of its schema, with the number of events.
create view {schema}.event_types as
select e.event_type, e.event_version, count(*) as events, max(e.recorded_at) as last_updated
from {schema}.events e
group by e.event_type, e.event_version;
