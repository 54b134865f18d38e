-- The skipped events that a segment hasn't reached yet. $1 name, $2 version, $3 build
select key, global_position
from {schema}.parked_events
where name = $1 and version = $2 and build = $3 and state = 'skipped'
    and global_position > (
        select min(global_position)
        from {schema}.projection_segments
        where name = $1 and version = $2 and build = $3
    )
