-- Appends one commit to one stream, waiting for the stream's lock.
-- Expected version: a number, -1 = any, -2 = the stream exists. With p_look_up, ids are looked up before anything else:
-- for a repeat after an unknown outcome, and where a failed insert would abort the caller's own transaction.
-- Status: 0 appended, 1 written earlier under these ids, 2 conflict (stream_version is the actual one), 3 ids used elsewhere.
create function {schema}.append_commit(
    p_stream_id text, p_expected_version integer,
    p_event_ids uuid[], p_event_types text[], p_event_versions smallint[], p_event_data json[], p_metadata json[],
    p_look_up boolean, p_lock_timeout text,
    out status smallint, out stream_version integer, out global_positions bigint[]
)
language plpgsql volatile
-- With the rights of the schema's owner, for writers have none on the log; nobody's search path reaches into it.
security definer set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    found record;
    is_expected boolean;
begin
    if p_lock_timeout is not null then
        perform set_config('lock_timeout', p_lock_timeout, true);
    end if;
    perform pg_advisory_xact_lock({schema}.store_namespace(), hashtext(p_stream_id));
    append_commit.stream_version := coalesce((
        select e.stream_version from {schema}.events e
        where e.stream_id = p_stream_id order by e.stream_version desc limit 1
    ), 0);
    is_expected := case p_expected_version
        when -1 then true
        when -2 then append_commit.stream_version > 0
        else append_commit.stream_version = p_expected_version
    end;
    if p_look_up or not is_expected then
        found := {schema}.find_append(p_stream_id, p_event_ids);
        if found.is_repeat then
            status := 1;
            append_commit.stream_version := found.stream_version;
            global_positions := found.global_positions;
            return;
        elsif found.known > 0 then
            status := 3;
            return;
        elsif not is_expected then
            status := 2;
            return;
        end if;
    end if;
    with written as (
        insert into {schema}.events
            (stream_id, stream_version, event_id, event_type, event_version, event_data, metadata)
        select p_stream_id, append_commit.stream_version + one.number,
            one.event_id, one.event_type, one.event_version, one.event_data, one.metadata
        from unnest(p_event_ids, p_event_types, p_event_versions, p_event_data, p_metadata)
            with ordinality as one (event_id, event_type, event_version, event_data, metadata, number)
        order by one.number
        returning global_position
    )
    select array_agg(w.global_position order by w.global_position) into append_commit.global_positions from written w;
    status := 0;
    append_commit.stream_version := append_commit.stream_version + cardinality(p_event_ids);
end
$$;
