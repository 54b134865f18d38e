-- A page of the log of some types, up to a safe position.
-- $1 from_position (exclusive), $2 safe_position, $3 limit, $4 event_types
select stream_id, stream_version, global_position, event_id, event_type, event_version, event_data, metadata,
    date_part('epoch', recorded_at) as seconds
from {schema}.events
where global_position > $1 and global_position <= $2 and {schema}.check_position($2) and event_type = any($4)
order by global_position
limit $3
