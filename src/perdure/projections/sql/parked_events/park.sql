-- Park events. $1 name, $2 version, $3 build, $4 rows, a JSON list of objects
insert into {schema}.parked_events (
    name, version, build, key, hash, global_position, event_id, event_type, stream_id, stream_version, state, error,
    attempts, retry_at
)
select $1, $2, $3, key, hash, global_position, event_id, event_type, stream_id, stream_version, state, error, attempts,
    clock_timestamp() + make_interval(secs => retry_in)
from json_to_recordset($4) as parked (
    key text, hash integer, global_position bigint, event_id uuid, event_type text, stream_id text,
    stream_version bigint, state text, error json, attempts integer, retry_in float8
)
