-- For a moment, segments may be held at a position, so that two builds can be compared there.
alter table {schema}.projection_segments
add column hold_at bigint,
add column held_until timestamptz
