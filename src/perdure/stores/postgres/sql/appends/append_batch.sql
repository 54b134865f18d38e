-- Append many commits, sorted by stream; each column as one text. $1 stream_ids, $2 expected_versions, $3 event_counts,
-- $4 commits, $5 event_ids, $6 event_types, $7 event_versions, $8 event_data, $9 metadata, $10 look_up, $11 lock_timeout
select statuses, stream_versions, global_positions, repeated_positions
from {schema}.append_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
