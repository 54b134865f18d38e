-- A page of the log.
select stream_id, stream_version, global_position, event_id, event_type, event_version, event_data, metadata, recorded_at
from raw.events
where global_position > $1
order by global_position
limit $2
