-- The event with an id; no row if there is none. $1 event_id
select stream_id, stream_version, global_position, event_id, event_type, event_version, event_data, metadata,
    date_part('epoch', recorded_at) as seconds
from {schema}.events
where event_id = $1
