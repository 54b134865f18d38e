-- Cancels a timer on behalf of an operator: removes it, and appends an event that says so to the stream of its process's
-- instance. Every build of the process takes that event, so none sets the timer again. Waits for a transaction that fires
-- or replaces the timer. Returns null if the timer isn't set any more, else when it was due.
create function {schema}.cancel_timer(p_name text, p_key text, p_timer text, p_actor text, p_reason text) returns timestamptz
language plpgsql volatile
-- Runs with the rights of the schema's owner, because projectors have none on the log. The fixed search path keeps objects
-- of the caller out.
security definer set search_path = pg_catalog, pg_temp
as $$
declare
    gone record;
begin
    delete from {schema}.timers t
    where t.name = p_name and t.key = p_key and t.timer = p_timer
    returning t.due_at, t.set_by into gone;
    if not found then
        return null;
    end if;
    perform {schema}.append_event(
        {schema}.process_stream(p_name, p_key), -1, gen_random_uuid(), 'perdure.timer_cancelled', 1::smallint,
        ('{"process":' || to_json(p_name) || ',"key":' || to_json(p_key) || ',"timer":' || to_json(p_timer)
            || ',"set_by":"' || gone.set_by || '","reason":' || coalesce(to_json(p_reason)::text, 'null') || '}')::json,
        ('{"timestamp":"' || to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '","user_id":'
            || to_json(p_actor) || '}')::json,
        '5s'
    );
    return gone.due_at;
end
$$;
