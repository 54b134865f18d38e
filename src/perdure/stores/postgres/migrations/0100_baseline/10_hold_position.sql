-- The writers' half of the fence. Before an insert draws any position, this trigger takes a shared lock. The key of the lock
-- is a lower bound of all positions that the insert may draw. The lock is held until the transaction ends, either way.
-- Being a trigger, it fences every insert, however it is made.
create function {schema}.hold_position() returns trigger
language plpgsql
as $$
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'events can be appended under READ COMMITTED only, not under %',
            upper(current_setting('transaction_isolation'))
            using errcode = 'PD002', hint = 'The order of the log relies on a new snapshot for each statement.';
    end if;
    -- An acknowledged event survives a crash, even if the session, the role or the database turned this off.
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
