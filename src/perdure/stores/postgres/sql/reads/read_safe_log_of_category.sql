-- A page of the log of one category, up to a safe position.
-- $1 from_position (exclusive), $2 safe_position, $3 limit, $4 category
-- The upper bound is hidden from the index (+ 0): a generic plan expects a range with both bounds to be short, and would
-- filter the whole log by its primary key.
select stream_id, stream_version, global_position, event_id, event_type, event_version, event_data, metadata,
    date_part('epoch', recorded_at) as seconds
from {schema}.events
where category = $4 and global_position > $1 and global_position + 0 <= $2
    and {schema}.check_position($2)
order by global_position
limit $3
