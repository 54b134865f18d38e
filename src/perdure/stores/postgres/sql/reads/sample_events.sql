-- The first and the last event of a type and version, and others near them, in log order. Its cost is bounded by $6.
-- $1 event_type, $2 event_version, $3 first_position, $4 last_position, $5 limit at each end, $6 events to search there
select stream_id, stream_version, global_position, event_id, event_type, event_version, event_data, metadata,
    date_part('epoch', recorded_at) as seconds
from {schema}.events
where global_position in (
    (
        select global_position
        from (
            select global_position, event_type, event_version
            from {schema}.events where global_position >= $3 order by global_position limit $6
        ) as oldest
        where event_type = $1 and event_version = $2 order by global_position limit $5
    )
    union
    (
        select global_position
        from (
            select global_position, event_type, event_version
            from {schema}.events where global_position <= $4 order by global_position desc limit $6
        ) as newest
        where event_type = $1 and event_version = $2 order by global_position desc limit $5
    )
)
order by global_position
