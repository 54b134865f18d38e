-- Appends to one stream, or to several: all or nothing. It waits for the locks of the streams.
-- Events are listed stream by stream; p_event_counts says how many belong to each. The condition streams are only compared.
-- Expected versions: a number, -1 = any, -2 = the stream exists. p_look_up: look up the ids before anything else,
-- for a repeat after an unknown outcome, and where a failed insert would abort the caller's own transaction.
-- Without p_lock_timeout it waits as long as the session is set to.
-- Status: 0 appended, 1 written earlier under these ids, 2 conflict, 3 ids used elsewhere, 5 written earlier under these ids,
-- but the type, version or text of an event differs. After a conflict, stream_id and
-- stream_version are those of the first stream that has another version than expected.
create or replace function {schema}.append_group(
    p_stream_ids text[], p_expected_versions integer[], p_event_counts integer[],
    p_condition_stream_ids text[], p_condition_versions integer[],
    p_event_ids uuid[], p_event_types text[], p_event_versions smallint[], p_event_data json[], p_metadata json[],
    p_look_up boolean, p_lock_timeout text,
    out status smallint, out stream_id text, out stream_version integer,
    out stream_versions integer[], out global_positions bigint[]
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
#variable_conflict use_column
declare
    all_stream_ids constant text[] := p_stream_ids || p_condition_stream_ids;
    heads integer[];
    -- For each event: the number of its stream in p_stream_ids.
    commits integer[] := array[]::integer[];
    -- For each stream: the number that, added to the place of an event among all events, gives its version.
    bases integer[] := array[]::integer[];
    versions integer[] := array[]::integer[];
    place integer := 0;
    mismatch integer;
    found record;
begin
    if p_lock_timeout is not null then
        perform set_config('lock_timeout', p_lock_timeout, true);
    end if;
    -- Locks are taken in the order of their keys, so that overlapping groups can't deadlock: exclusive on streams that are
    -- written, shared on the others.
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
    select
        array_agg(s.head order by s.number),
        min(s.number) filter (where not (s.expected = s.head or s.expected = -1 or (s.expected = -2 and s.head > 0)))
    into heads, mismatch
    from (
        select s.number, s.expected, coalesce((
            select e.stream_version from {schema}.events e
            where e.stream_id = s.stream_id order by e.stream_version desc limit 1
        ), 0) as head
        from unnest(all_stream_ids, p_expected_versions || p_condition_versions)
            with ordinality as s (stream_id, expected, number)
    ) as s;
    for i in 1 .. cardinality(p_stream_ids) loop
        commits := commits || array_fill(i, array[p_event_counts[i]]);
        bases[i] := heads[i] - place;
        place := place + p_event_counts[i];
        versions[i] := heads[i] + p_event_counts[i];
    end loop;

    if p_look_up or mismatch is not null then
        -- Ids before versions: a repeat isn't a conflict.
        found := {schema}.find_repeats(
            p_stream_ids, commits, p_event_ids, p_event_types, p_event_versions, p_event_data
        );
        if found.statuses <@ array[1, 5]::smallint[] then
            status := case when 5 = any(found.statuses) then 5 else 1 end;
            append_group.stream_versions := found.stream_versions;
            append_group.global_positions := found.global_positions;
            return;
        elsif num_nonnulls(variadic found.statuses) > 0 then
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
        select p_stream_ids[one.commit], bases[one.commit] + one.place,
            one.event_id, one.event_type, one.event_version, one.event_data, one.metadata
        from unnest(commits, p_event_ids, p_event_types, p_event_versions, p_event_data, p_metadata)
            with ordinality as one (commit, event_id, event_type, event_version, event_data, metadata, place)
        order by one.place
        returning global_position
    )
    select array_agg(w.global_position order by w.global_position) into append_group.global_positions from written w;
    append_group.stream_versions := versions;
    status := 0;
end
$$;
