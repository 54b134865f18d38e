-- The snapshot of a stream, if the log has its event at the version that it names. $1 stream_id
select s.stream_id, s.stream_version, s.event_id, s.state_version, s.state_shape, s.state
from {schema}.snapshots s
join {schema}.events e on e.event_id = s.event_id
where s.stream_id = $1 and e.stream_id = s.stream_id and e.stream_version = s.stream_version
