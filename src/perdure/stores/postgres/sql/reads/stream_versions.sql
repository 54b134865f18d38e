-- The range of versions (exclusive, inclusive) of the events of a stream between two positions.
-- $1 from_position (exclusive), $2 to_position (inclusive, safe), $3 stream_id
-- In a stream, versions and positions rise together, so a bisection of the versions finds each end.
with recursive bisection as (
    -- Every version up to `low` is at the position or before it, and every version beyond `high` is after it.
    select which.side, which.position, 0 as low, coalesce(newest.stream_version, 0) as high
    from (values ('from', $1::bigint), ('to', $2::bigint)) as which (side, position)
    left join lateral (
        select stream_version
        from {schema}.events
        where stream_id = $3
        order by stream_version desc
        limit 1
    ) as newest on true
    where {schema}.check_position($2)
    union all
    select
        side,
        position,
        case when probed.global_position > position then low else probed.stream_version end,
        case when probed.global_position > position then probed.stream_version - 1 else high end
    from bisection
    cross join lateral (
        select stream_version, global_position
        from {schema}.events
        where stream_id = $3 and stream_version = low + (high - low + 1) / 2
    ) as probed
    where low < high
)
select
    max(low) filter (where side = 'from') as from_version,
    min(high) filter (where side = 'to') as to_version
from bisection
