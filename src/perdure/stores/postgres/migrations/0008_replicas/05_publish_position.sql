-- Tells the standbys up to where they can be read. The position is found first and written later, so that on a standby
-- everything up to it is there when it is. Nulls when nobody receives it; global_position null when another session is
-- at it. Until global_position is last_drawn, it must be called again.
create function {schema}.publish_position(out global_position bigint, out last_drawn bigint)
language plpgsql volatile
-- With the rights of the schema's owner, so that nobody else can publish what isn't safe.
security definer set search_path = pg_catalog, pg_temp
as $$
declare
    fence record;
begin
    if not exists (select from pg_stat_get_wal_senders()) then
        return;
    end if;
    -- A standby that is to confirm each commit needn't confirm this one.
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
