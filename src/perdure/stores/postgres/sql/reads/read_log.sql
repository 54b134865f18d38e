-- A page of the log as it can be seen now: the reader must stop at the first gap.
-- $1 from_position (exclusive), $2 limit; the event that was read last (null: none): $3 its position, $4 its id
select stream_id, stream_version, global_position, event_id, event_type, event_version, event_data, metadata,
    date_part('epoch', recorded_at) as seconds
from {schema}.events
where global_position > $1 and {schema}.check_event_at($3, $4)
order by global_position
limit $2
