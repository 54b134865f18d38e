-- Whether these event ids are stored, and whether as one append: in this stream, contiguous, in this order.
create function {schema}.find_append(
    p_stream_id text, p_event_ids uuid[],
    out known integer, out is_repeat boolean, out stream_version integer, out global_positions bigint[]
)
language sql stable
as $$
    select
        count(*)::integer,
        count(*) = cardinality(p_event_ids)
            and bool_and(e.stream_id = p_stream_id)
            and min(e.stream_version - asked.number) = max(e.stream_version - asked.number),
        max(e.stream_version),
        array_agg(e.global_position order by asked.number)
    from unnest(p_event_ids) with ordinality as asked (event_id, number)
    join {schema}.events e on e.event_id = asked.event_id
$$;
