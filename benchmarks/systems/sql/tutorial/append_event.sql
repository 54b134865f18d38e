-- An event.
insert into events (stream_id, version, event_id, event_type, data, metadata) values ($1, $2, $3, $4, $5, $6)
