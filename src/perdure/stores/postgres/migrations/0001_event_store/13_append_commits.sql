-- Appends many commits in one transaction, each with its own outcome. The commits must be sorted by stream.
-- It never waits for a stream: a commit whose stream is locked by another transaction is left out, as busy.
-- Events name their commit by its number in p_stream_ids (1, 2, 3 ...) and count within it.
-- Status as in append_commit(), and 4 = busy. global_positions: of the events appended, in order; repeated_positions: of
-- the events that were written earlier under the same ids, in order.
create function {schema}.append_commits(
    p_stream_ids text[], p_expected_versions integer[], p_first_events integer[], p_event_counts integer[],
    p_commits integer[], p_numbers integer[],
    p_event_ids uuid[], p_event_types text[], p_event_versions smallint[], p_event_data json[], p_metadata json[],
    p_look_up boolean, p_lock_timeout text,
    out statuses smallint[], out stream_versions integer[],
    out global_positions bigint[], out repeated_positions bigint[]
)
language plpgsql volatile
-- With the rights of the schema's owner, for writers have none on the log; nobody's search path reaches into it.
security definer set search_path = pg_catalog, pg_temp
as $$
declare
    locked boolean[];
    heads integer[];
    starts integer[] := array_fill(0, array[cardinality(p_stream_ids)]);
    stream_id text;
    version integer;
    expected integer;
    is_locked boolean;
    is_expected boolean;
    found record;
begin
    perform set_config('lock_timeout', p_lock_timeout, true);
    statuses := array_fill(0::smallint, array[cardinality(p_stream_ids)]);
    stream_versions := starts;
    repeated_positions := array[]::bigint[];
    select array_agg(pg_try_advisory_xact_lock({schema}.store_namespace(), hashtext(c.stream_id)) order by c.number)
    into locked
    from unnest(p_stream_ids) with ordinality as c (stream_id, number);
    -- A statement of its own: its snapshot must be later than the locks.
    select array_agg(coalesce((
        select e.stream_version from {schema}.events e
        where e.stream_id = c.stream_id order by e.stream_version desc limit 1
    ), 0) order by c.number)
    into heads
    from unnest(p_stream_ids) with ordinality as c (stream_id, number);

    for i in 1 .. cardinality(p_stream_ids) loop
        if stream_id is distinct from p_stream_ids[i] then
            stream_id := p_stream_ids[i];
            version := heads[i];
            is_locked := locked[i];
        end if;
        -- The first try decides for all commits of the stream: a lock that became free since must not let a later one pass.
        if not is_locked then
            statuses[i] := 4;
            continue;
        end if;
        expected := p_expected_versions[i];
        is_expected := expected = version or expected = -1 or (expected = -2 and version > 0);
        if p_look_up or not is_expected then
            found := {schema}.find_append(
                stream_id, p_event_ids[p_first_events[i] : p_first_events[i] + p_event_counts[i] - 1]
            );
            if found.is_repeat then
                statuses[i] := 1;
                stream_versions[i] := found.stream_version;
                repeated_positions := repeated_positions || found.global_positions;
                continue;
            elsif found.known > 0 then
                statuses[i] := 3;
                continue;
            elsif not is_expected then
                statuses[i] := 2;
                stream_versions[i] := version;
                continue;
            end if;
        end if;
        starts[i] := version;
        version := version + p_event_counts[i];
        stream_versions[i] := version;
    end loop;

    with written as (
        insert into {schema}.events
            (stream_id, stream_version, event_id, event_type, event_version, event_data, metadata)
        select p_stream_ids[one.commit], starts[one.commit] + one.number,
            one.event_id, one.event_type, one.event_version, one.event_data, one.metadata
        from unnest(p_commits, p_numbers, p_event_ids, p_event_types, p_event_versions, p_event_data, p_metadata)
            with ordinality as one
            (commit, number, event_id, event_type, event_version, event_data, metadata, place)
        where statuses[one.commit] = 0
        order by one.place
        returning global_position
    )
    select array_agg(w.global_position order by w.global_position) into global_positions from written w;
end
$$;
