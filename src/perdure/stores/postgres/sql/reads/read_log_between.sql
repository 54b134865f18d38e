-- A page of the log between two positions, oldest first.
-- $1 from_position (exclusive), $2 to_position (inclusive, safe), $3 limit, and unless null:
-- $4 event_types, $5 recorded_from, $6 recorded_before (exclusive)
select stream_id, stream_version, global_position, event_id, event_type, event_version, event_data, metadata,
    date_part('epoch', recorded_at) as seconds
from {schema}.events
where global_position > $1 and global_position <= $2 and {schema}.check_position($2)
    and ($4::text[] is null or event_type = any($4))
    and ($5::timestamptz is null or recorded_at >= $5)
    and ($6::timestamptz is null or recorded_at < $6)
order by global_position
limit $3
