-- A page of the events of some types in a stream, oldest first. It reads the stream's events until so many match.
-- $1 stream_id, $2 from_version (exclusive), $3 limit (null: all), $4 event_types
select stream_id, stream_version, global_position, event_id, event_type, event_version, event_data, metadata,
    date_part('epoch', recorded_at) as seconds
from {schema}.events
where stream_id = $1 and stream_version > $2::bigint and event_type = any($4::text[])
order by stream_version
limit $3
