-- For people to query: each category, with the number of its streams and events.
create view {schema}.categories as
select
    e.category,
    count(*) filter (where e.stream_version = 1) as streams,
    count(*) as events,
    max(e.recorded_at) as last_updated
from {schema}.events e
group by e.category;
