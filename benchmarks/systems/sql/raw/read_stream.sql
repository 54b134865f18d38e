-- The events of a stream, oldest first.
select stream_id, stream_version, global_position, event_id, event_type, event_version, event_data, metadata, recorded_at
from raw.events
where stream_id = $1
order by stream_version
