-- Append many commits, sorted by stream. $1 stream_ids, $2 expected_versions, $3 first_events, $4 event_counts,
-- $5 commits, $6 numbers, $7 event_ids, $8 event_types, $9 event_versions, $10 event_data, $11 metadata, $12 look_up,
-- $13 lock_timeout
select statuses, stream_versions, global_positions, repeated_positions
from {schema}.append_commits($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
