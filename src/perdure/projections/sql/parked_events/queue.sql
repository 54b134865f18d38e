-- The parked events of a key, oldest first, with the number of attempts, the seconds since, and the event that the log
-- has at the position.
-- $1 name, $2 version, $3 build, $4 key, $5 how many at most
select p.global_position as parked_position, p.event_id as parked_id, p.attempts,
    extract(epoch from clock_timestamp() - p.parked_at)::float8 as seconds,
    e.stream_id, e.stream_version, e.global_position, e.event_id, e.event_type, e.event_version, e.event_data,
    e.metadata, e.recorded_at
from {schema}.parked_events as p
left join {schema}.events as e on e.global_position = p.global_position
where p.name = $1 and p.version = $2 and p.build = $3 and p.key = $4 and p.state <> 'skipped'
order by p.global_position
limit $5
