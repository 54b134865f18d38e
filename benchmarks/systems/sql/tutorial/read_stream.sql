-- The events of a stream.
select version, event_type, data from events where stream_id = $1 order by version
