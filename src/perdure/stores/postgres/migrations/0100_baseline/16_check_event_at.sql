-- For statements that continue reading: fails unless the event after which they read is still at its position. It is part
-- of the statement itself, so that no failover, restore or proxy can come in between. An id of null means: nothing was read.
create function {schema}.check_event_at(p_position bigint, p_event_id uuid) returns boolean
language plpgsql stable
as $$
begin
    if p_event_id is null
        or exists (select from {schema}.events e where e.global_position = p_position and e.event_id = p_event_id)
    then
        return true;
    end if;
    if pg_is_in_recovery() and p_position > (select p.global_position from {schema}.published p) then
        raise exception 'this standby lags behind the position that was read on another server'
            using errcode = 'PD003', hint = 'Try again in a moment.';
    end if;
    raise exception 'event % is not at position % of the log', p_event_id, p_position
        using errcode = 'PD005', hint = 'The log is not the one that was read.';
end
$$;
