-- For people to query: each stream, its version, and when it last changed.
create view {schema}.streams as
select e.stream_id, max(e.stream_version) as stream_version, max(e.recorded_at) as last_updated
from {schema}.events e
group by e.stream_id;
