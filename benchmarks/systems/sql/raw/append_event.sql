-- An event. The index on (stream_id, stream_version) is what checks the expected version.
insert into raw.events (stream_id, stream_version, event_id, event_type, event_version, event_data, metadata)
values ($1, $2, $3, $4, 1, $5, $6)
