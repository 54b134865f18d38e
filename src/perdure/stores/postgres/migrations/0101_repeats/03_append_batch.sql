-- Appends many commits in one transaction, each with its own outcome. The commits must be sorted by stream.
-- If p_look_up says so, or once a commit has another version than expected, the ids of all commits are looked up.
--
-- Each argument is a column: its values with U+001F between them, a character that no stream id, type or JSON may contain.
-- For the client, that takes half the time of arrays. p_commits names the commit of each event by its number in p_stream_ids
-- (1, 2, 3 ...).
--
-- It never waits for a stream: a commit whose stream is locked by another transaction is left out, as busy.
-- Statuses as in append_group(), and 4 = busy. global_positions: of the events appended, in order; repeated_positions: of
-- the events that were written earlier under the same ids, in order.
create or replace function {schema}.append_batch(
    p_stream_ids text, p_expected_versions text, p_event_counts text,
    p_commits text, p_event_ids text, p_event_types text, p_event_versions text, p_event_data text, p_metadata text,
    p_look_up boolean, p_lock_timeout text,
    out statuses smallint[], out stream_versions integer[],
    out global_positions bigint[], out repeated_positions bigint[]
)
language plpgsql volatile
-- Runs with the rights of the schema's owner, because writers have none on the log. The fixed search path keeps objects of
-- the caller out.
security definer set search_path = pg_catalog, pg_temp
-- Plans are cached for the session. A plan that was made while the log was small must not scan it once it has grown.
-- Without force_generic_plan, each call would plan its statements for the arrays at hand: that costs as much as the inserts.
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
    separator constant text := chr(31);
    stream_ids constant text[] := string_to_array(p_stream_ids, separator);
    expected_versions constant integer[] := string_to_array(p_expected_versions, separator)::integer[];
    event_counts constant integer[] := string_to_array(p_event_counts, separator)::integer[];
    commits constant integer[] := string_to_array(p_commits, separator)::integer[];
    event_ids constant uuid[] := string_to_array(p_event_ids, separator)::uuid[];
    event_types constant text[] := string_to_array(p_event_types, separator);
    event_versions constant smallint[] := string_to_array(p_event_versions, separator)::smallint[];
    event_data constant json[] := string_to_array(p_event_data, separator)::json[];
    metadata constant json[] := string_to_array(p_metadata, separator)::json[];
    locked boolean[];
    heads integer[];
    -- For each commit that is appended: the number that, added to the place of an event in the batch, gives its version.
    bases integer[] := array_fill(null::integer, array[cardinality(stream_ids)]);
    place integer := 0;
    stream_id text;
    version integer;
    expected integer;
    is_expected boolean;
    -- What find_repeats() returned, once it was called.
    is_looked_up boolean := false;
    known smallint[];
    known_versions integer[];
    known_positions bigint[];
begin
    -- A value with a separator in it would shift all that follow.
    if array[cardinality(expected_versions), cardinality(event_counts)]
            <> array_fill(cardinality(stream_ids), array[2])
        or array[
            cardinality(event_ids), cardinality(event_types), cardinality(event_versions), cardinality(event_data),
            cardinality(metadata)
        ] <> array_fill(cardinality(commits), array[5])
    then
        raise exception 'the columns of a batch differ in length' using errcode = 'PD004';
    end if;
    perform set_config('lock_timeout', p_lock_timeout, true);
    statuses := array_fill(0::smallint, array[cardinality(stream_ids)]);
    stream_versions := array_fill(0, array[cardinality(stream_ids)]);
    repeated_positions := array[]::bigint[];
    select array_agg(pg_try_advisory_xact_lock({schema}.store_namespace(), hashtext(c.stream_id)) order by c.number)
    into locked
    from unnest(stream_ids) with ordinality as c (stream_id, number);
    -- A statement of its own: its snapshot must be later than the locks.
    select array_agg(case when c.is_locked then coalesce((
        select e.stream_version from {schema}.events e
        where e.stream_id = c.stream_id order by e.stream_version desc limit 1
    ), 0) end order by c.number)
    into heads
    from unnest(stream_ids, locked) with ordinality as c (stream_id, is_locked, number);

    for i in 1 .. cardinality(stream_ids) loop
        -- The first attempt to lock decides for all commits of a stream: a later commit must not overtake an earlier one.
        if stream_id is distinct from stream_ids[i] then
            stream_id := stream_ids[i];
            version := heads[i];
        end if;
        place := place + event_counts[i];
        if version is null then
            statuses[i] := 4;
            continue;
        end if;
        expected := expected_versions[i];
        is_expected := expected = version or expected = -1 or (expected = -2 and version > 0);
        if p_look_up or not is_expected then
            if not is_looked_up then
                is_looked_up := true;
                select f.statuses, f.stream_versions, f.global_positions
                into known, known_versions, known_positions
                from {schema}.find_repeats(
                    stream_ids, commits, event_ids, event_types, event_versions, event_data
                ) f;
            end if;
            if known[i] in (1, 5) then
                statuses[i] := known[i];
                stream_versions[i] := known_versions[i];
                repeated_positions := repeated_positions || known_positions[place - event_counts[i] + 1 : place];
                continue;
            elsif known[i] = 3 then
                statuses[i] := 3;
                continue;
            elsif not is_expected then
                statuses[i] := 2;
                stream_versions[i] := version;
                continue;
            end if;
        end if;
        version := version + event_counts[i];
        stream_versions[i] := version;
        bases[i] := version - place;
    end loop;

    with written as (
        insert into {schema}.events
            (stream_id, stream_version, event_id, event_type, event_version, event_data, metadata)
        select stream_ids[one.commit], bases[one.commit] + one.place,
            one.event_id, one.event_type, one.event_version, one.event_data, one.metadata
        from unnest(commits, event_ids, event_types, event_versions, event_data, metadata)
            with ordinality as one (commit, event_id, event_type, event_version, event_data, metadata, place)
        where bases[one.commit] is not null
        order by one.place
        returning global_position
    )
    select array_agg(w.global_position order by w.global_position) into global_positions from written w;
end
$$;
