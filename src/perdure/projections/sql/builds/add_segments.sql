-- Divide a new build into segments of about the same size. $1 name, $2 version, $3 build, $4 number of segments,
-- $5 global_position and $6 event_id of their checkpoint
insert into {schema}.projection_segments (name, version, build, first_hash, last_hash, global_position, event_id)
select $1, $2, $3, 65536 * n / $4, 65536 * (n + 1) / $4 - 1, $5, $6
from generate_series(0, $4::integer - 1) as n
