-- Append one event. $1 stream_id, $2 expected_version, $3 event_id, $4 event_type, $5 event_version, $6 event_data,
-- $7 metadata, $8 lock_timeout
select {schema}.append_event($1, $2, $3, $4, $5, $6, $7, $8)
