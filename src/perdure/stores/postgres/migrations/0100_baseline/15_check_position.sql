-- For statements that rely on a position that an earlier statement got from safe_position(). A proxy may send them to a
-- standby that hasn't got that far: there they fail instead of missing events. Stable, so that it sees what they see.
create function {schema}.check_position(p_position bigint) returns boolean
language plpgsql stable
as $$
begin
    if pg_is_in_recovery() and p_position > (select p.global_position from {schema}.published p) then
        raise exception 'this standby lags behind the position that was found safe on another server'
            using errcode = 'PD003', hint = 'Try again in a moment.';
    end if;
    return true;
end
$$;
