-- Skip an event for which segments are paused, for the keys that it failed for or as a whole, and resume the segments.
-- Returns builds and keys; the empty key means the whole event. $1 name, $2 global_position, $3 key, or null for all
-- keys
with paused as (
    select version, build, first_hash, error
    from {schema}.projection_segments
    where name = $1 and status = 'paused' and (error ->> 'global_position')::bigint = $2
        and ($3::text is null or (error -> 'keys')::jsonb ? $3)
    order by version, build, first_hash
    for update
), resumed as (
    update {schema}.projection_segments as s
    set status = 'running', error = null, updated_at = clock_timestamp()
    from paused
    where s.name = $1 and s.version = paused.version and s.build = paused.build
        and s.first_hash = paused.first_hash
    returning s.version, s.build, paused.error
), failed as (
    select distinct on (r.version, r.build, k.key) r.version, r.build, k.key, r.error
    from resumed as r
    cross join lateral (
        select key
        from json_array_elements_text(r.error -> 'keys') as named (key)
        union all
        select ''
        where coalesce(json_array_length(r.error -> 'keys'), 0) = 0
    ) as k
    where $3::text is null or k.key = $3
), skipped as (
    insert into {schema}.parked_events (
        name, version, build, key, global_position, event_id, event_type, stream_id, stream_version, state, error,
        attempts
    )
    select $1, f.version, f.build, f.key, e.global_position, e.event_id, e.event_type, e.stream_id, e.stream_version,
        'skipped', f.error, (f.error ->> 'attempts')::integer
    from failed as f
    inner join {schema}.events as e on e.global_position = $2
    on conflict do nothing
)
select version, build, key
from failed
