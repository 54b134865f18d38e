-- A page of what one request set in motion, between two positions, oldest first.
-- $1 from_position (exclusive), $2 to_position (inclusive, safe), $3 limit, $4 correlation_id, and unless null:
-- $5 categories, $6 event_types, $7 recorded_from, $8 recorded_before (exclusive)
-- The first comparison is that of the index, which holds the beginning of the id; the second is the exact one.
-- The upper bound is hidden from the index (+ 0): a generic plan expects a range with both bounds to be short, and would
-- filter the whole log by its primary key.
select stream_id, stream_version, global_position, event_id, event_type, event_version, event_data, metadata,
    date_part('epoch', recorded_at) as seconds
from {schema}.events
where left(metadata ->> 'correlation_id', 64) collate "C" = left($4, 64)
    and metadata ->> 'correlation_id' = $4
    and global_position > $1 and global_position + 0 <= $2
    and {schema}.check_position($2)
    and ($5::text[] is null or category = any($5))
    and ($6::text[] is null or event_type = any($6))
    and ($7::timestamptz is null or recorded_at >= $7)
    and ($8::timestamptz is null or recorded_at < $8)
order by global_position
limit $3
