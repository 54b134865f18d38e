-- Park events. $1 name, $2 version, $3 build, $4 rows, a JSON list of objects
insert into {schema}.parked_events (
    name, version, build, key, hash, global_position, event_id, event_type, stream_id, stream_version, state, error,
    attempts
)
select $1, $2, $3, key, hash, global_position, event_id, event_type, stream_id, stream_version, state, error, attempts
from json_populate_recordset(null::{schema}.parked_events, $4)
