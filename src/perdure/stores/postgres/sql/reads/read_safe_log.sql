-- A page of the log up to a safe position. $1 from_position (exclusive), $2 safe_position, $3 limit
select stream_id, stream_version, global_position, event_id, event_type, event_version, event_data, metadata,
    date_part('epoch', recorded_at) as seconds
from {schema}.events
where global_position > $1 and global_position <= $2 and {schema}.check_position($2)
order by global_position
limit $3
