-- The readers' half of the fence: any later statement sees every event up to here that will ever be committed.
-- It reads the sequence first, the locks second. A transaction that drew a position before the first read has ended by
-- the second, or still holds its lock, whose key lies below. PostgreSQL releases locks only after a commit is visible.
-- The rows must be read by a later statement, which has a snapshot of its own.
-- A standby can't see the locks. It uses the position that the primary published, which arrives after all events below it.
create function {schema}.safe_position(out safe_position bigint, out last_drawn bigint)
language plpgsql volatile
as $$
declare
    lowest_held bigint;
begin
    if pg_is_in_recovery() then
        select p.global_position, greatest(p.global_position, (select max(e.global_position) from {schema}.events e))
        into strict safe_position, last_drawn
        from {schema}.published p;
        return;
    end if;
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'the log can be followed under READ COMMITTED only' using errcode = 'PD002';
    end if;
    last_drawn := coalesce(pg_sequence_last_value('{schema_literal}.global_position'), 0);
    if last_drawn = 0 and not has_sequence_privilege('{schema_literal}.global_position', 'usage, select') then
        raise exception 'permission denied for sequence %', '{schema_literal}.global_position'
            using errcode = 'insufficient_privilege', hint = 'Following the log also needs SELECT on its sequence.';
    end if;
    select min(((classid::bigint & 65535) << 32) | objid::bigint)
    into lowest_held
    from pg_locks
    where locktype = 'advisory'
        and objsubid = 1
        and classid::bigint >> 16 = {schema}.store_namespace()
        and database = (select oid from pg_database where datname = current_database());
    safe_position := least(last_drawn, lowest_held);
end
$$;
