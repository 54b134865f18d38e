-- The readers' half of the fence: up to here, every event that will ever be committed can be seen by any later statement.
-- First the sequence, then the locks: a position drawn before the first look belongs to a transaction that, at the second,
-- either still holds its lock (whose key lies below) or has ended. PostgreSQL lets go of locks after a commit is visible.
-- Rows must be read in a later statement, with a snapshot of its own.
-- A standby has no locks to look at. It has what the primary has published, and sees it after all that lies below.
create or replace function {schema}.safe_position(out safe_position bigint, out last_drawn bigint)
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
        raise exception 'the log is followed under READ COMMITTED only' using errcode = 'PD002';
    end if;
    last_drawn := coalesce(pg_sequence_last_value('{schema_literal}.global_position'), 0);
    if last_drawn = 0 and not has_sequence_privilege('{schema_literal}.global_position', 'usage, select') then
        raise exception 'permission denied for sequence %', '{schema_literal}.global_position'
            using errcode = 'insufficient_privilege', hint = 'Who follows the log needs SELECT on its sequence, too.';
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
