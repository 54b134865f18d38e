-- Appends to several streams at once, all or nothing, if each has its expected version; further streams that aren't
-- written may have one, too. Locks are taken in the order of their keys, so that overlapping groups can't block each other
-- for ever: exclusive on streams that are written, shared on the others.
-- Events stand in the caller's order, stream after stream; p_commits names the stream of each by its number.
-- Status as in append_commit(); on a conflict, stream_id and stream_version are those of the first stream that has one.
create function {schema}.append_group(
    p_stream_ids text[], p_expected_versions integer[], p_first_events integer[], p_event_counts integer[],
    p_condition_stream_ids text[], p_condition_versions integer[],
    p_commits integer[], p_numbers integer[],
    p_event_ids uuid[], p_event_types text[], p_event_versions smallint[], p_event_data json[], p_metadata json[],
    p_look_up boolean, p_lock_timeout text,
    out status smallint, out stream_id text, out stream_version integer,
    out stream_versions integer[], out global_positions bigint[]
)
language plpgsql volatile
-- With the rights of the schema's owner, for writers have none on the log; nobody's search path reaches into it.
security definer set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    all_stream_ids text[] := p_stream_ids || p_condition_stream_ids;
    all_versions integer[] := p_expected_versions || p_condition_versions;
    heads integer[];
    mismatch integer;
    known integer := 0;
    repeats integer := 0;
    found record;
begin
    if p_lock_timeout is not null then
        perform set_config('lock_timeout', p_lock_timeout, true);
    end if;
    perform case
        when stream.is_written then pg_advisory_xact_lock({schema}.store_namespace(), stream.key)
        else pg_advisory_xact_lock_shared({schema}.store_namespace(), stream.key)
    end
    from (
        select hashtext(s.stream_id) as key, bool_or(s.number <= cardinality(p_stream_ids)) as is_written
        from unnest(all_stream_ids) with ordinality as s (stream_id, number)
        group by 1
        order by 1
    ) as stream;
    -- A statement of its own: its snapshot must be later than the locks.
    select array_agg(coalesce((
        select e.stream_version from {schema}.events e
        where e.stream_id = s.stream_id order by e.stream_version desc limit 1
    ), 0) order by s.number)
    into heads
    from unnest(all_stream_ids) with ordinality as s (stream_id, number);
    select min(s.number) into mismatch
    from unnest(all_versions, heads) with ordinality as s (expected, head, number)
    where not (s.expected = s.head or s.expected = -1 or (s.expected = -2 and s.head > 0));

    if p_look_up or mismatch is not null then
        append_group.global_positions := array[]::bigint[];
        append_group.stream_versions := array[]::integer[];
        for i in 1 .. cardinality(p_stream_ids) loop
            found := {schema}.find_append(
                p_stream_ids[i], p_event_ids[p_first_events[i] : p_first_events[i] + p_event_counts[i] - 1]
            );
            known := known + found.known;
            repeats := repeats + coalesce(found.is_repeat, false)::integer;
            append_group.global_positions := append_group.global_positions || found.global_positions;
            append_group.stream_versions := append_group.stream_versions || found.stream_version;
        end loop;
        if repeats = cardinality(p_stream_ids) then
            status := 1;
            return;
        elsif known > 0 then
            status := 3;
            return;
        elsif mismatch is not null then
            status := 2;
            append_group.stream_id := all_stream_ids[mismatch];
            append_group.stream_version := heads[mismatch];
            return;
        end if;
    end if;

    with written as (
        insert into {schema}.events
            (stream_id, stream_version, event_id, event_type, event_version, event_data, metadata)
        select p_stream_ids[one.commit], heads[one.commit] + one.number,
            one.event_id, one.event_type, one.event_version, one.event_data, one.metadata
        from unnest(p_commits, p_numbers, p_event_ids, p_event_types, p_event_versions, p_event_data, p_metadata)
            with ordinality as one
            (commit, number, event_id, event_type, event_version, event_data, metadata, place)
        order by one.place
        returning global_position
    )
    select array_agg(w.global_position order by w.global_position) into append_group.global_positions from written w;
    select array_agg(heads[c.number] + c.event_count order by c.number) into append_group.stream_versions
    from unnest(p_event_counts) with ordinality as c (event_count, number);
    status := 0;
end
$$;
