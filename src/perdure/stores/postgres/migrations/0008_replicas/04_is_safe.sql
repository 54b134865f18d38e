-- For statements that rely on a position that safe_position() has told in an earlier one: sent by a proxy to a standby
-- that hasn't got that far, they fail instead of missing events. Stable, so that it sees what the statement sees.
create function {schema}.is_safe(p_position bigint) returns boolean
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
