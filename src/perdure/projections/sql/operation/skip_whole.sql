-- Let an event pass by before which segments are paused. $1 name, $2 global_position; the build, once for each
insert into {schema}.parked_events (
    name, version, build, key, global_position, event_id, event_type, stream_id, stream_version, state, error, attempts
)
select distinct on (s.version, s.build) s.name, s.version, s.build, '', e.global_position, e.event_id, e.event_type,
    e.stream_id, e.stream_version, 'skipped', s.error, (s.error ->> 'attempts')::integer
from {schema}.projection_segments as s
inner join {schema}.events as e on e.global_position = $2
where s.name = $1 and s.status = 'paused' and (s.error ->> 'global_position')::bigint = $2
on conflict do nothing
returning version, build
