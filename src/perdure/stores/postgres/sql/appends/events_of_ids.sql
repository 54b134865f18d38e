-- The events with these ids. $1 event_ids
select stream_id, stream_version, global_position, event_id, event_type, event_version, event_data, metadata,
    date_part('epoch', recorded_at) as seconds
from {schema}.events
where event_id = any($1)
