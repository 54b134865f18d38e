-- Append one commit. $1 stream_id, $2 expected_version, $3 event_ids, $4 event_types, $5 event_versions, $6 event_data,
-- $7 metadata, $8 look_up, $9 lock_timeout
select status, stream_version, global_positions
from {schema}.append_commit($1, $2, $3, $4, $5, $6, $7, $8, $9)
