-- For statements that rely on safe_position(): sent to a standby by a proxy, they fail instead of missing events.
create function {schema}.refuse_standby() returns boolean
language plpgsql stable
as $$
begin
    if pg_is_in_recovery() then
        raise exception 'a standby may lag behind the position that was found safe on the primary'
            using errcode = 'PD003', hint = 'Follow the log on the primary.';
    end if;
    return true;
end
$$;
