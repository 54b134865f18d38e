-- Append to one stream or several, all or nothing. $1 stream_ids, $2 expected_versions, $3 event_counts,
-- $4 condition_stream_ids, $5 condition_versions, $6 event_ids, $7 event_types, $8 event_versions, $9 event_data,
-- $10 metadata, $11 look_up, $12 lock_timeout
select status, stream_id, stream_version, stream_versions, global_positions
from {schema}.append_group($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
