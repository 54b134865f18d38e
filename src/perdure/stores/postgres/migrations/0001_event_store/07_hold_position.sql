-- The writers' half of the fence. Before an insert draws any position, it takes a shared lock whose key is a lower bound
-- of all the positions that it may draw, and keeps it until its transaction has ended, whichever way.
-- As a trigger, it fences every insert, however it is made.
create function {schema}.hold_position() returns trigger
language plpgsql
as $$
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'events are appended under READ COMMITTED only, not under %',
            upper(current_setting('transaction_isolation'))
            using errcode = 'PD002', hint = 'A later snapshot is what makes the order of the log safe.';
    end if;
    -- Whatever the session, the role or the database was set to since: what is acknowledged survives a crash.
    if current_setting('synchronous_commit') = 'off' then
        perform set_config('synchronous_commit', 'on', true);
    end if;
    perform pg_advisory_xact_lock_shared(
        ({schema}.store_namespace()::bigint << 48)
        | coalesce(pg_sequence_last_value('{schema_literal}.global_position'), 0)
    );
    return null;
end
$$;
