-- A page of streams in the order of their ids, each with its last event. It steps from stream to stream by the index.
-- $1 stream_id to begin after, $2 stream_id to stop at (exclusive; null: none), $3 limit
with recursive found as (
    (
        select e.stream_id, 1 as number
        from {schema}.events e
        where e.stream_id > $1 and ($2::text is null or e.stream_id < $2) and $3::bigint > 0
        order by e.stream_id
        limit 1
    )
    union all
    select following.stream_id, found.number + 1
    from found
    cross join lateral (
        select e.stream_id
        from {schema}.events e
        where e.stream_id > found.stream_id and ($2::text is null or e.stream_id < $2)
        order by e.stream_id
        limit 1
    ) as following
    where found.number < $3
)
select last.stream_id, last.stream_version, last.event_type, last.global_position, last.recorded_at
from found
cross join lateral (
    select e.stream_id, e.stream_version, e.event_type, e.global_position, e.recorded_at
    from {schema}.events e
    where e.stream_id = found.stream_id
    order by e.stream_version desc
    limit 1
) as last
order by last.stream_id
