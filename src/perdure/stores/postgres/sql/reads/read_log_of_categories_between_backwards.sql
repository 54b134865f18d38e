-- A page of the log of several categories between two positions, newest first.
-- $1 from_position (exclusive), $2 to_position (inclusive, safe), $3 limit, $4 categories (each once), and unless null:
-- $5 event_types, $6 recorded_from, $7 recorded_before (exclusive)
-- Each category gives a page of its own by its index, because the index has no common order of several categories. The
-- lower bound is hidden from the index (+ 0): a generic plan expects a range with both bounds to be short, and would filter
-- the whole log by its primary key.
select stream_id, stream_version, global_position, event_id, event_type, event_version, event_data, metadata,
    date_part('epoch', recorded_at) as seconds
from unnest($4::text[]) as wanted (name)
cross join lateral (
    select *
    from {schema}.events
    where category = wanted.name collate "C" and global_position + 0 > $1 and global_position <= $2
        and {schema}.check_position($2)
        and ($5::text[] is null or event_type = any($5))
        and ($6::timestamptz is null or recorded_at >= $6)
        and ($7::timestamptz is null or recorded_at < $7)
    order by global_position desc
    limit $3
) as found
order by global_position desc
limit $3
