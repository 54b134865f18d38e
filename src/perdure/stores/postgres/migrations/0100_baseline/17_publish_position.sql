-- Publishes, for standbys, the position up to which they can be read. The position is determined first and written later,
-- so that a standby that has it has everything up to it. Returns nulls if no standby is connected, and a null
-- global_position if another session is publishing. Call it again until global_position equals last_drawn.
create function {schema}.publish_position(out global_position bigint, out last_drawn bigint)
language plpgsql volatile
-- Runs with the rights of the schema's owner, so that no other role can publish a position that isn't safe.
security definer set search_path = pg_catalog, pg_temp
as $$
declare
    fence record;
begin
    if not exists (select from pg_stat_get_wal_senders()) then
        return;
    end if;
    -- A synchronous standby needn't confirm this commit.
    perform set_config('synchronous_commit', 'local', true);
    perform from {schema}.published p for update skip locked;
    if not found then
        last_drawn := pg_sequence_last_value('{schema_literal}.global_position');
        return;
    end if;
    fence := {schema}.safe_position();
    update {schema}.published p
    set global_position = fence.safe_position, published_at = clock_timestamp()
    where p.global_position < fence.safe_position;
    global_position := fence.safe_position;
    last_drawn := fence.last_drawn;
end
$$;
