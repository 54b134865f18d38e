-- Park events that were handled, so that they are handled again, in order for each key. Returns the position of each;
-- one that is parked or skipped already stays as it is. $1 name, $2 version, $3 build, $4 rows, a JSON list of objects
insert into {schema}.parked_events (
    name, version, build, key, hash, global_position, event_id, event_type, stream_id, stream_version, state
)
select $1, $2, $3, key, hash, global_position, event_id, event_type, stream_id, stream_version, 'waiting'
from json_populate_recordset(null::{schema}.parked_events, $4)
on conflict do nothing
returning global_position
