-- Append to several streams at once. $1 stream_ids, $2 expected_versions, $3 first_events, $4 event_counts,
-- $5 condition_stream_ids, $6 condition_versions, $7 commits, $8 numbers, $9 event_ids, $10 event_types,
-- $11 event_versions, $12 event_data, $13 metadata, $14 look_up, $15 lock_timeout
select status, stream_id, stream_version, stream_versions, global_positions
from {schema}.append_group($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
