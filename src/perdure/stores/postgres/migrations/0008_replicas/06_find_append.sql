-- Whether these event ids are stored, and whether as one append: in this stream, contiguous, in this order.
-- What is found may be known to this server alone, if it was killed, or the wait for a synchronous standby was cut short,
-- when it was written. So a repeat writes something, too: its commit waits until the standby has all up to here.
create or replace function {schema}.find_append(
    p_stream_id text, p_event_ids uuid[],
    out known integer, out is_repeat boolean, out stream_version integer, out global_positions bigint[]
)
language plpgsql volatile
as $$
#variable_conflict use_column
begin
    select
        count(*)::integer,
        count(*) = cardinality(p_event_ids)
            and bool_and(e.stream_id = p_stream_id)
            and min(e.stream_version - asked.number) = max(e.stream_version - asked.number),
        max(e.stream_version),
        array_agg(e.global_position order by asked.number)
    into find_append.known, find_append.is_repeat, find_append.stream_version, find_append.global_positions
    from unnest(p_event_ids) with ordinality as asked (event_id, number)
    join {schema}.events e on e.event_id = asked.event_id;
    if find_append.is_repeat then
        perform pg_logical_emit_message(true, 'perdure', '');
    end if;
end
$$;
