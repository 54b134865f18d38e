-- Append one event, and tell when it was recorded, if it is the next one for somebody who waits.
-- $1 stream_id, $2 expected_version, $3 event_id, $4 event_type, $5 event_version, $6 event_data, $7 metadata,
-- $8 lock_timeout; the event up to which they have read: $9 its position, $10 its id
select {schema}.append_next_event($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
