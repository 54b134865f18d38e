-- Fires timers that are due by the clock of the database, the longest due first: each becomes an event in the stream of
-- its process's instance, in the transaction that removes it. Timers that another transaction fires, replaces or cancels
-- are left to it; those whose stream is locked stay for a later call.
--
-- A timer that has fired already, because a rebuild has set it again, is removed without another event.
-- Returns how many fired and how many stay because of a lock, since when the longest of them was due, the time for which
-- it looked, and when the next timer is due.
create function {schema}.fire_timers(
    p_limit integer,
    out fired integer, out busy integer, out due_since timestamptz, out looked_at timestamptz, out next_due timestamptz
)
language plpgsql volatile
-- Runs with the rights of the schema's owner, because projectors have none on the log. The fixed search path keeps objects
-- of the caller out.
security definer set search_path = pg_catalog, pg_temp
-- Plans are cached for the session. A plan that was made while there were few timers must not scan many.
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
    separator constant text := chr(31);
    -- Read once, because a condition with a volatile function can't use the index.
    moment constant timestamptz := clock_timestamp();
    written_at constant text := to_char(moment at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
    due record;
    answer record;
begin
    looked_at := moment;
    fired := 0;
    busy := 0;
    with locked as (
        select t.ctid as place, t.name, t.key, t.timer, t.due_at, t.set_by, t.data
        from {schema}.timers t
        where t.due_at <= moment
        order by t.due_at
        limit p_limit
        for update skip locked
    ),
    named as (
        select l.*, {schema}.process_stream(l.name, l.key) as stream_id, s.correlation
        from locked l
        left join lateral (
            select ',"correlation_id":' || nullif((e.metadata -> 'correlation_id')::text, 'null') as correlation
            from {schema}.events e
            where e.event_id = l.set_by
            limit 1
        ) s on true
    ),
    numbered as (
        select n.*, row_number() over (order by n.stream_id collate "C", n.due_at, n.timer) as number
        from named n
    )
    select
        count(*) as number,
        min(n.due_at) as since,
        array_agg(n.place order by n.number) as places,
        string_agg(n.stream_id, separator order by n.number) as stream_ids,
        string_agg(n.number::text, separator order by n.number) as commits,
        string_agg(
            {schema}.firing_id(n.name, n.key, n.timer, n.set_by)::text, separator order by n.number
        ) as event_ids,
        string_agg(
            '{"process":' || to_json(n.name) || ',"key":' || to_json(n.key) || ',"timer":' || to_json(n.timer)
            || ',"due_at":"' || to_char(n.due_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
            || '","set_by":"' || n.set_by || '","data":' || n.data || '}',
            separator order by n.number
        ) as event_data,
        string_agg(
            '{"timestamp":"' || written_at || '"' || coalesce(n.correlation, '') || ',"causation_id":"' || n.set_by || '"}',
            separator order by n.number
        ) as metadata
    into due
    from numbered n;

    if due.number > 0 then
        -- With a look-up of ids: what has fired already is no error.
        answer := {schema}.append_batch(
            due.stream_ids, array_to_string(array_fill('-1'::text, array[due.number::integer]), separator),
            array_to_string(array_fill('1'::text, array[due.number::integer]), separator), due.commits, due.event_ids,
            array_to_string(array_fill('perdure.timer_fired'::text, array[due.number::integer]), separator),
            array_to_string(array_fill('1'::text, array[due.number::integer]), separator), due.event_data, due.metadata,
            true, '5s'
        );
        if 3 = any(answer.statuses) then
            raise exception 'a timer can''t fire: the id of its event belongs to an event of another stream'
                using errcode = 'PD007', hint = 'Find it with firing_id(name, key, timer, set_by), and cancel the timer.';
        end if;
        delete from {schema}.timers t
        where t.ctid = any (array(
            select one.place
            from unnest(due.places, answer.statuses) as one (place, status)
            where one.status <> 4
        ));
        fired := coalesce(cardinality(answer.global_positions), 0);
        busy := cardinality(array_positions(answer.statuses, 4::smallint));
        due_since := due.since;
    end if;
    select min(t.due_at) into next_due from {schema}.timers t;
end
$$;
