-- The places of the events with these ids in a stream. $1 stream_id, $2 event_ids
select stream_version, global_position
from {schema}.events
where event_id = any($2) and stream_id = $1
order by stream_version
