-- What came of retried events: a row for each, with the first event that is parked for its key now, if there is one.
-- $1 name, $2 versions, $3 builds, $4 keys, $5 positions
select
    p.name is null or coalesce(own.state = 'skipped', false) as is_withdrawn,
    own.state is null as is_gone,
    head.name, head.version, head.build, head.key, head.global_position, head.event_id, head.event_type, head.stream_id,
    head.stream_version, head.state, head.error, head.attempts, head.is_retry_requested, head.parked_at
from unnest($2::integer[], $3::integer[], $4::text[], $5::bigint[]) as retried (version, build, key, global_position)
left join {schema}.projections as p on p.name = $1 and p.version = retried.version and p.build = retried.build
left join {schema}.parked_events as own
    on own.name = $1 and own.version = retried.version and own.build = retried.build and own.key = retried.key
    and own.global_position = retried.global_position
left join lateral (
    select *
    from {schema}.parked_events as e
    where e.name = $1 and e.version = retried.version and e.build = retried.build and e.key = retried.key
        and e.state <> 'skipped'
    order by e.global_position
    limit 1
) as head on true
