-- The event with an id; no row when there is none. $1 event_id
select stream_id, stream_version, global_position, event_id, event_type, event_version, event_data, metadata,
    timestamptz_send(recorded_at)
from {schema}.events
where event_id = $1
