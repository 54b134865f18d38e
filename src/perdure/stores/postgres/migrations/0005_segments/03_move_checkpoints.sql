-- So far, a projection was one segment.
insert into {schema}.projection_segments (
    name, version, build, first_hash, last_hash, global_position, event_id, status, error, updated_at
)
select name, version, build, 0, 65535, global_position, event_id, status, error, updated_at
from {schema}.projections
