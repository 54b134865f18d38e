-- A page of the log of one stream between two versions, newest first.
-- $1 from_version (exclusive), $2 to_version (inclusive), $3 limit, $4 stream_id, $5 the safe position that the versions were
-- found with, and unless null: $6 correlation_id, $7 categories, $8 event_types, $9 recorded_from,
-- $10 recorded_before (exclusive)
-- The lower bound is hidden from the index (+ 0): a generic plan expects a range with both bounds to be short, and would
-- sort the rest of the stream for each page.
select stream_id, stream_version, global_position, event_id, event_type, event_version, event_data, metadata,
    date_part('epoch', recorded_at) as seconds
from {schema}.events
where stream_id = $4 and stream_version + 0 > $1::bigint and stream_version <= $2::bigint
    and {schema}.check_position($5)
    and ($6::text is null or metadata ->> 'correlation_id' = $6)
    and ($7::text[] is null or category = any($7))
    and ($8::text[] is null or event_type = any($8))
    and ($9::timestamptz is null or recorded_at >= $9)
    and ($10::timestamptz is null or recorded_at < $10)
order by stream_version desc
limit $3
