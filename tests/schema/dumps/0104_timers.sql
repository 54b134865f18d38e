--
-- PostgreSQL database dump
--


-- Dumped from database version 18.4
-- Dumped by pg_dump version 18.4

SET statement_timeout = 0;
SET lock_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: perdure; Type: SCHEMA; Schema: -; Owner: -
--

CREATE SCHEMA perdure;


--
-- Name: append_batch(text, text, text, text, text, text, text, text, text, boolean, text); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.append_batch(p_stream_ids text, p_expected_versions text, p_event_counts text, p_commits text, p_event_ids text, p_event_types text, p_event_versions text, p_event_data text, p_metadata text, p_look_up boolean, p_lock_timeout text, OUT statuses smallint[], OUT stream_versions integer[], OUT global_positions bigint[], OUT repeated_positions bigint[]) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
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
    select array_agg(pg_try_advisory_xact_lock("perdure".store_namespace(), hashtext(c.stream_id)) order by c.number)
    into locked
    from unnest(stream_ids) with ordinality as c (stream_id, number);
    -- A statement of its own: its snapshot must be later than the locks.
    select array_agg(case when c.is_locked then coalesce((
        select e.stream_version from "perdure".events e
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
                from "perdure".find_repeats(
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
        insert into "perdure".events
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


--
-- Name: append_event(text, integer, uuid, text, smallint, json, json, text); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.append_event(p_stream_id text, p_expected_version integer, p_event_id uuid, p_event_type text, p_event_version smallint, p_event_data json, p_metadata json, p_lock_timeout text) RETURNS bigint[]
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    AS $$
declare
    version integer;
    drawn bigint;
begin
    perform set_config('lock_timeout', p_lock_timeout, true);
    perform pg_advisory_xact_lock("perdure".store_namespace(), hashtext(p_stream_id));
    -- A statement of its own: its snapshot must be later than the lock.
    version := coalesce((
        select e.stream_version from "perdure".events e
        where e.stream_id = p_stream_id order by e.stream_version desc limit 1
    ), 0);
    if p_expected_version = version or p_expected_version = -1 or (p_expected_version = -2 and version > 0) then
        version := version + 1;
        insert into "perdure".events
            (stream_id, stream_version, event_id, event_type, event_version, event_data, metadata)
        values (p_stream_id, version, p_event_id, p_event_type, p_event_version, p_event_data, p_metadata)
        returning global_position into drawn;
        return array[0, version, drawn];
    end if;
    -- Ids before versions: a repeat isn't a conflict.
    return (
        select array[found.status, coalesce(found.stream_versions[1], found.stream_version)] || found.global_positions
        from "perdure".append_group(
            array[p_stream_id], array[p_expected_version], array[1], array[]::text[], array[]::integer[],
            array[p_event_id], array[p_event_type], array[p_event_version], array[p_event_data], array[p_metadata],
            true, p_lock_timeout
        ) found
    );
end
$$;


--
-- Name: append_group(text[], integer[], integer[], text[], integer[], uuid[], text[], smallint[], json[], json[], boolean, text); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.append_group(p_stream_ids text[], p_expected_versions integer[], p_event_counts integer[], p_condition_stream_ids text[], p_condition_versions integer[], p_event_ids uuid[], p_event_types text[], p_event_versions smallint[], p_event_data json[], p_metadata json[], p_look_up boolean, p_lock_timeout text, OUT status smallint, OUT stream_id text, OUT stream_version integer, OUT stream_versions integer[], OUT global_positions bigint[]) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
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
        when stream.is_written then pg_advisory_xact_lock("perdure".store_namespace(), stream.key)
        else pg_advisory_xact_lock_shared("perdure".store_namespace(), stream.key)
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
            select e.stream_version from "perdure".events e
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
        found := "perdure".find_repeats(
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
        insert into "perdure".events
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


--
-- Name: cancel_timer(text, text, text, text, text); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.cancel_timer(p_name text, p_key text, p_timer text, p_actor text, p_reason text) RETURNS timestamp with time zone
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    gone record;
begin
    delete from "perdure".timers t
    where t.name = p_name and t.key = p_key and t.timer = p_timer
    returning t.due_at, t.set_by into gone;
    if not found then
        return null;
    end if;
    perform "perdure".append_event(
        "perdure".process_stream(p_name, p_key), -1, gen_random_uuid(), 'perdure.timer_cancelled', 1::smallint,
        ('{"process":' || to_json(p_name) || ',"key":' || to_json(p_key) || ',"timer":' || to_json(p_timer)
            || ',"set_by":"' || gone.set_by || '","reason":' || coalesce(to_json(p_reason)::text, 'null') || '}')::json,
        ('{"timestamp":"' || to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '","user_id":'
            || to_json(p_actor) || '}')::json,
        '5s'
    );
    return gone.due_at;
end
$$;


--
-- Name: check_event(text, text, smallint, json, json); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.check_event(p_stream_id text, p_event_type text, p_event_version smallint, p_event_data json, p_metadata json) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE
    AS $_$
declare
    happened text;
    name text;
    value json;
begin
    -- The form that Perdure writes is recognised at little cost. Any other event is examined part by part below.
    if octet_length(p_stream_id) <= 512
        and p_stream_id like '_%-_%'
        and p_stream_id not like '-%'
        and octet_length(p_event_type) between 1 and 200
        and strpos(p_event_type, ' ') = 0
        and (p_event_type || p_stream_id) !~ '[\x01-\x1f\x7f]'
        and p_event_version > 0
        and json_typeof(p_event_data) in ('object', 'array')
        -- The timestamp: LIKE fixes where its separators are. The regular expression allows only digits between them, in pairs,
        -- and minutes and seconds below 60. The cast finds days that don't exist.
        and p_metadata::text like '{"timestamp":"____-__-__T__:__:__.______Z"%}'
        and p_metadata::text ~ '^[{]"timestamp":"[0-9][0-9]([-T.]?[0-9][0-9]|:[0-5][0-9])+Z"'
        and substr(p_metadata::text, 26, 2) < '24'
        and substr(p_metadata::text, 15, 10)::date is not null
        -- After it, only texts without escapes, and headers that hold only such texts.
        and (
            octet_length(p_metadata::text) = 43
            or p_metadata::text ~ '^[{](?:"[^"\\]*"[,:}{]*)*$'
            and strpos(replace(p_metadata::text, '"headers":{"', ''), ':{') = 0
            and strpos(p_metadata::text, '"headers":"') = 0
        )
    then
        return true;
    end if;
    if char_length(p_stream_id) > 512 or p_stream_id !~ '^[^\x01-\x1f\x7f-]+-[^\x01-\x1f\x7f]+$' then
        raise exception 'stream id % can''t be used', quote_literal(left(p_stream_id, 100))
            using errcode = 'PD006', hint = 'A stream id is category-id, such as user-123: at most 512 characters, no control characters.';
    elsif char_length(p_event_type) not between 1 and 200 or p_event_type ~ '[\x01-\x20\x7f]' then
        raise exception 'event type % can''t be used', quote_literal(left(p_event_type, 100))
            using errcode = 'PD006', hint = 'An event type has 1 to 200 characters and no white space.';
    elsif p_event_version < 1 then
        raise exception 'event version % can''t be used', p_event_version
            using errcode = 'PD006', hint = 'The version of a schema counts from 1.';
    elsif json_typeof(p_event_data) not in ('object', 'array') then
        raise exception 'the payload is a JSON %, not an object', json_typeof(p_event_data)
            using errcode = 'PD006', hint = 'An event is stored as an object with its fields.';
    elsif json_typeof(p_metadata) <> 'object' then
        raise exception 'the metadata are a JSON %, not an object', json_typeof(p_metadata)
            using errcode = 'PD006', hint = 'Metadata are an object with a timestamp.';
    end if;
    happened := case when json_typeof(p_metadata -> 'timestamp') = 'string' then p_metadata ->> 'timestamp' end;
    if happened is null
        or happened !~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$'
    then
        raise exception 'the metadata have no timestamp that can be read'
            using errcode = 'PD006', hint = 'Write it as 2026-11-30T15:00:00Z, or with a time zone such as +01:00.';
    end if;
    begin
        perform make_date(left(happened, 4)::integer, substr(happened, 6, 2)::integer, substr(happened, 9, 2)::integer);
    exception when datetime_field_overflow then
        raise exception 'the metadata have a timestamp on a day that doesn''t exist'
            using errcode = 'PD006', hint = 'Write it as 2026-11-30T15:00:00Z, or with a time zone such as +01:00.';
    end;
    foreach name in array array['correlation_id', 'causation_id', 'user_id'] loop
        if json_typeof(p_metadata -> name) not in ('string', 'null') then
            raise exception 'the metadata have a % that isn''t text', name
                using errcode = 'PD006', hint = 'Write it as text, or leave it out.';
        end if;
    end loop;
    if json_typeof(p_metadata -> 'headers') <> 'object' then
        raise exception 'the metadata have headers that aren''t an object'
            using errcode = 'PD006', hint = 'Headers are an object whose values are texts.';
    end if;
    for name, value in select * from json_each(p_metadata -> 'headers') loop
        if json_typeof(value) <> 'string' then
            raise exception 'the metadata have a header that isn''t text'
                using errcode = 'PD006', hint = 'Headers are an object whose values are texts.';
        end if;
    end loop;
    return true;
end
$_$;


--
-- Name: check_event_at(bigint, uuid); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.check_event_at(p_position bigint, p_event_id uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE
    AS $$
begin
    if p_event_id is null
        or exists (select from "perdure".events e where e.global_position = p_position and e.event_id = p_event_id)
    then
        return true;
    end if;
    if pg_is_in_recovery() and p_position > (select p.global_position from "perdure".published p) then
        raise exception 'this standby lags behind the position that was read on another server'
            using errcode = 'PD003', hint = 'Try again in a moment.';
    end if;
    raise exception 'event % is not at position % of the log', p_event_id, p_position
        using errcode = 'PD005', hint = 'The log is not the one that was read.';
end
$$;


--
-- Name: check_position(bigint); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.check_position(p_position bigint) RETURNS boolean
    LANGUAGE plpgsql STABLE
    AS $$
begin
    if pg_is_in_recovery() and p_position > (select p.global_position from "perdure".published p) then
        raise exception 'this standby lags behind the position that was found safe on another server'
            using errcode = 'PD003', hint = 'Try again in a moment.';
    end if;
    return true;
end
$$;


--
-- Name: find_appends(text[], integer[], uuid[]); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.find_appends(p_stream_ids text[], p_commits integer[], p_event_ids uuid[], OUT statuses smallint[], OUT stream_versions integer[], OUT global_positions bigint[]) RETURNS record
    LANGUAGE plpgsql
    AS $$
#variable_conflict use_column
begin
    with asked as (
        select a.commit, a.place, e.stream_id, e.stream_version, e.global_position
        from unnest(p_commits, p_event_ids) with ordinality as a (commit, event_id, place)
        -- Each id by itself, in the index: a join that was planned while the log was small would later read all of it.
        left join lateral (
            select e.stream_id, e.stream_version, e.global_position
            from "perdure".events e
            where e.event_id = a.event_id
            limit 1
        ) e on true
    ),
    found as (
        select
            a.commit,
            case
                when count(a.global_position) = 0 then null
                when count(a.global_position) = count(*)
                    and bool_and(a.stream_id = p_stream_ids[a.commit])
                    and min(a.stream_version - a.place) = max(a.stream_version - a.place)
                then 1
                else 3
            end as status,
            max(a.stream_version) as stream_version
        from asked a
        group by a.commit
    )
    select
        array_agg(f.status::smallint order by c.number),
        array_agg(f.stream_version order by c.number),
        (select array_agg(a.global_position order by a.place) from asked a)
    into find_appends.statuses, find_appends.stream_versions, find_appends.global_positions
    from generate_series(1, cardinality(p_stream_ids)) as c (number)
    left join found f on f.commit = c.number;
    -- What was found may exist on this server alone: the server was killed while it wrote it, or the wait for a synchronous
    -- standby was cut short. So a repeat writes something, too: its commit waits until the standby has everything up to here.
    if 1 = any(statuses) then
        perform pg_logical_emit_message(true, 'perdure', '');
    end if;
end
$$;


--
-- Name: find_repeats(text[], integer[], uuid[], text[], smallint[], json[]); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.find_repeats(p_stream_ids text[], p_commits integer[], p_event_ids uuid[], p_event_types text[], p_event_versions smallint[], p_event_data json[], OUT statuses smallint[], OUT stream_versions integer[], OUT global_positions bigint[]) RETURNS record
    LANGUAGE plpgsql
    AS $$
declare
    differing integer[];
begin
    select f.statuses, f.stream_versions, f.global_positions
    into find_repeats.statuses, find_repeats.stream_versions, find_repeats.global_positions
    from "perdure".find_appends(p_stream_ids, p_commits, p_event_ids) f;
    if 1 = any(statuses) then
        select array_agg(distinct a.commit)
        into differing
        from unnest(p_commits, p_event_types, p_event_versions, p_event_data, find_repeats.global_positions)
            as a (commit, event_type, event_version, event_data, global_position)
        join "perdure".events e on e.global_position = a.global_position
        where find_repeats.statuses[a.commit] = 1
            and (e.event_type, e.event_version, e.event_data::text)
                is distinct from (a.event_type, a.event_version, a.event_data::text);
        for i in 1 .. coalesce(cardinality(differing), 0) loop
            statuses[differing[i]] := 5;
        end loop;
    elsif 3 = any(statuses) then
        -- Appends with an id of their own are repeats even if the number of events differs. So their commit, too, must wait
        -- until a standby has what was found, as in find_appends().
        perform pg_logical_emit_message(true, 'perdure', '');
    end if;
end
$$;


--
-- Name: fire_timers(integer); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.fire_timers(p_limit integer, OUT fired integer, OUT busy integer, OUT due_since timestamp with time zone, OUT looked_at timestamp with time zone, OUT next_due timestamp with time zone) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
declare
    separator constant text := chr(31);
    -- Read once, because a condition with a volatile function can't use the index.
    moment constant timestamptz := clock_timestamp();
    written_at constant text := to_char(moment at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
    due record;
    answer record;
begin
    looked_at := moment;
    fired := 0;
    busy := 0;
    with locked as (
        select t.ctid as place, t.name, t.key, t.timer, t.due_at, t.set_by, t.data
        from "perdure".timers t
        where t.due_at <= moment
        order by t.due_at
        limit p_limit
        for update skip locked
    ),
    named as (
        select l.*, "perdure".process_stream(l.name, l.key) as stream_id, s.correlation
        from locked l
        left join lateral (
            select ',"correlation_id":' || nullif((e.metadata -> 'correlation_id')::text, 'null') as correlation
            from "perdure".events e
            where e.event_id = l.set_by
            limit 1
        ) s on true
    ),
    numbered as (
        select n.*, row_number() over (order by n.stream_id collate "C", n.due_at, n.timer) as number
        from named n
    )
    select
        count(*) as number,
        min(n.due_at) as since,
        array_agg(n.place order by n.number) as places,
        string_agg(n.stream_id, separator order by n.number) as stream_ids,
        string_agg(n.number::text, separator order by n.number) as commits,
        string_agg(
            "perdure".firing_id(n.name, n.key, n.timer, n.set_by)::text, separator order by n.number
        ) as event_ids,
        string_agg(
            '{"process":' || to_json(n.name) || ',"key":' || to_json(n.key) || ',"timer":' || to_json(n.timer)
            || ',"due_at":"' || to_char(n.due_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
            || '","set_by":"' || n.set_by || '","data":' || n.data || '}',
            separator order by n.number
        ) as event_data,
        string_agg(
            '{"timestamp":"' || written_at || '"' || coalesce(n.correlation, '') || ',"causation_id":"' || n.set_by || '"}',
            separator order by n.number
        ) as metadata
    into due
    from numbered n;

    if due.number > 0 then
        -- With a look-up of ids: what has fired already is no error.
        answer := "perdure".append_batch(
            due.stream_ids, array_to_string(array_fill('-1'::text, array[due.number::integer]), separator),
            array_to_string(array_fill('1'::text, array[due.number::integer]), separator), due.commits, due.event_ids,
            array_to_string(array_fill('perdure.timer_fired'::text, array[due.number::integer]), separator),
            array_to_string(array_fill('1'::text, array[due.number::integer]), separator), due.event_data, due.metadata,
            true, '5s'
        );
        if 3 = any(answer.statuses) then
            raise exception 'a timer can''t fire: the id of its event belongs to an event of another stream'
                using errcode = 'PD007', hint = 'Find it with firing_id(name, key, timer, set_by), and cancel the timer.';
        end if;
        delete from "perdure".timers t
        where t.ctid = any (array(
            select one.place
            from unnest(due.places, answer.statuses) as one (place, status)
            where one.status <> 4
        ));
        fired := coalesce(cardinality(answer.global_positions), 0);
        busy := cardinality(array_positions(answer.statuses, 4::smallint));
        due_since := due.since;
    end if;
    select min(t.due_at) into next_due from "perdure".timers t;
end
$$;


--
-- Name: firing_id(text, text, text, uuid); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.firing_id(p_name text, p_key text, p_timer text, p_set_by uuid) RETURNS uuid
    LANGUAGE plpgsql IMMUTABLE
    AS $$
declare
    found bytea := substr(sha256(
        convert_to(p_set_by::text, 'UTF8') || '\x00' || convert_to('timer', 'UTF8')
        || '\x00' || convert_to(p_name, 'UTF8') || '\x00' || convert_to(p_key, 'UTF8') || '\x00' || convert_to(p_timer, 'UTF8')
    ), 1, 16);
begin
    if substr(p_set_by::text, 15, 1) = '7' then
        found := overlay(found placing substr(uuid_send(p_set_by), 1, 6) from 1);
    end if;
    found := set_byte(found, 6, get_byte(found, 6) & 15 | 128);
    found := set_byte(found, 8, get_byte(found, 8) & 63 | 128);
    return encode(found, 'hex')::uuid;
end
$$;


--
-- Name: hold_position(); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.hold_position() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
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
        ("perdure".store_namespace()::bigint << 48)
        | coalesce(pg_sequence_last_value('"perdure".global_position'), 0)
    );
    return null;
end
$$;


--
-- Name: position_before(timestamp with time zone); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.position_before(p_time timestamp with time zone) RETURNS bigint
    LANGUAGE plpgsql STABLE STRICT
    AS $$
declare
    -- Everything up to `low` was recorded before the time, and nothing beyond `high`.
    low bigint := 0;
    high bigint;
    middle bigint;
    found record;
begin
    select max(e.global_position) into high from "perdure".events e;
    while low < coalesce(high, 0) loop
        middle := low + (high - low) / 2;
        select e.global_position, e.recorded_at into found
        from "perdure".events e
        where e.global_position > middle order by e.global_position limit 1;
        if found.recorded_at < p_time then
            low := found.global_position;
        else
            high := middle;
        end if;
    end loop;
    return low;
end
$$;


--
-- Name: process_stream(text, text); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.process_stream(p_name text, p_key text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    AS $$
declare
    readable constant text := 'process-' || p_name || '.' || p_key;
begin
    if char_length(readable) <= 512 and readable !~ '[\x01-\x1f\x7f]' then
        return readable;
    end if;
    return 'process-' || regexp_replace(left(p_name, 100), '[\x01-\x1f\x7f]', '_', 'g') || '.'
        || encode(sha256(convert_to(p_name, 'UTF8') || '\x00' || convert_to(p_key, 'UTF8')), 'hex');
end
$$;


--
-- Name: publish_position(); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.publish_position(OUT global_position bigint, OUT last_drawn bigint) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    fence record;
begin
    if not exists (select from pg_stat_get_wal_senders()) then
        return;
    end if;
    -- A synchronous standby needn't confirm this commit.
    perform set_config('synchronous_commit', 'local', true);
    perform from "perdure".published p for update skip locked;
    if not found then
        last_drawn := pg_sequence_last_value('"perdure".global_position');
        return;
    end if;
    fence := "perdure".safe_position();
    update "perdure".published p
    set global_position = fence.safe_position, published_at = clock_timestamp()
    where p.global_position < fence.safe_position;
    global_position := fence.safe_position;
    last_drawn := fence.last_drawn;
end
$$;


--
-- Name: refuse_change(); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    raise exception 'events are never changed or deleted (% on %.%)', tg_op, tg_table_schema, tg_table_name
        using errcode = 'PD001', hint = 'Append an event that corrects or compensates the earlier one.';
end
$$;


--
-- Name: safe_position(); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.safe_position(OUT safe_position bigint, OUT last_drawn bigint) RETURNS record
    LANGUAGE plpgsql
    AS $$
declare
    lowest_held bigint;
begin
    if pg_is_in_recovery() then
        select p.global_position, greatest(p.global_position, (select max(e.global_position) from "perdure".events e))
        into strict safe_position, last_drawn
        from "perdure".published p;
        return;
    end if;
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'the log can be followed under READ COMMITTED only' using errcode = 'PD002';
    end if;
    last_drawn := coalesce(pg_sequence_last_value('"perdure".global_position'), 0);
    if last_drawn = 0 and not has_sequence_privilege('"perdure".global_position', 'usage, select') then
        raise exception 'permission denied for sequence %', '"perdure".global_position'
            using errcode = 'insufficient_privilege', hint = 'Following the log also needs SELECT on its sequence.';
    end if;
    select min(((classid::bigint & 65535) << 32) | objid::bigint)
    into lowest_held
    from pg_locks
    where locktype = 'advisory'
        and objsubid = 1
        and classid::bigint >> 16 = "perdure".store_namespace()
        and database = (select oid from pg_database where datname = current_database());
    safe_position := least(last_drawn, lowest_held);
end
$$;


--
-- Name: store_namespace(); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.store_namespace() RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 26315;


--
-- Name: store_schema(); Type: FUNCTION; Schema: perdure; Owner: -
--

CREATE FUNCTION perdure.store_schema() RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 'perdure'::text;


SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: events; Type: TABLE; Schema: perdure; Owner: -
--

CREATE TABLE perdure.events (
    global_position bigint NOT NULL,
    stream_id text NOT NULL COLLATE pg_catalog."C",
    stream_version integer NOT NULL,
    event_id uuid NOT NULL,
    event_type text NOT NULL COLLATE pg_catalog."C",
    event_version smallint NOT NULL,
    category text GENERATED ALWAYS AS (split_part(stream_id, '-'::text, 1)) STORED NOT NULL COLLATE pg_catalog."C",
    event_data json NOT NULL,
    metadata json NOT NULL,
    recorded_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT events_readable CHECK (perdure.check_event(stream_id, event_type, event_version, event_data, metadata)),
    CONSTRAINT events_stream_version_check CHECK ((stream_version > 0))
);


--
-- Name: categories; Type: VIEW; Schema: perdure; Owner: -
--

CREATE VIEW perdure.categories AS
 SELECT category,
    count(*) FILTER (WHERE (stream_version = 1)) AS streams,
    count(*) AS events,
    max(recorded_at) AS last_updated
   FROM perdure.events e
  GROUP BY category;


--
-- Name: event_types; Type: VIEW; Schema: perdure; Owner: -
--

CREATE VIEW perdure.event_types AS
 SELECT event_type,
    event_version,
    count(*) AS events,
    max(recorded_at) AS last_updated
   FROM perdure.events e
  GROUP BY event_type, event_version;


--
-- Name: global_position; Type: SEQUENCE; Schema: perdure; Owner: -
--

ALTER TABLE perdure.events ALTER COLUMN global_position ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME perdure.global_position
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: inline_streams; Type: TABLE; Schema: perdure; Owner: -
--

CREATE TABLE perdure.inline_streams (
    name text NOT NULL COLLATE pg_catalog."C",
    version integer NOT NULL,
    build integer NOT NULL,
    stream_id text NOT NULL COLLATE pg_catalog."C",
    stream_version bigint DEFAULT 0 NOT NULL
)
WITH (fillfactor='50');


--
-- Name: migrations; Type: TABLE; Schema: perdure; Owner: -
--

CREATE TABLE perdure.migrations (
    number integer NOT NULL,
    name text NOT NULL,
    steps integer DEFAULT 0 NOT NULL,
    applied_at timestamp with time zone DEFAULT clock_timestamp()
);


--
-- Name: parked_events; Type: TABLE; Schema: perdure; Owner: -
--

CREATE TABLE perdure.parked_events (
    name text NOT NULL COLLATE pg_catalog."C",
    version integer NOT NULL,
    build integer NOT NULL,
    key text NOT NULL COLLATE pg_catalog."C",
    hash integer,
    global_position bigint NOT NULL,
    event_id uuid NOT NULL,
    event_type text NOT NULL,
    stream_id text NOT NULL,
    stream_version bigint NOT NULL,
    state text NOT NULL,
    error json,
    attempts integer DEFAULT 0 NOT NULL,
    is_retry_requested boolean DEFAULT false NOT NULL,
    parked_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    retry_at timestamp with time zone,
    CONSTRAINT parked_events_state_check CHECK ((state = ANY (ARRAY['failed'::text, 'waiting'::text, 'skipped'::text])))
);


--
-- Name: projection_actions; Type: TABLE; Schema: perdure; Owner: -
--

CREATE TABLE perdure.projection_actions (
    number bigint NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    version integer NOT NULL,
    build integer NOT NULL,
    action text NOT NULL,
    actor text NOT NULL,
    reason text,
    detail json,
    done_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);


--
-- Name: projection_actions_number_seq; Type: SEQUENCE; Schema: perdure; Owner: -
--

ALTER TABLE perdure.projection_actions ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME perdure.projection_actions_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: projection_runners; Type: TABLE; Schema: perdure; Owner: -
--

CREATE UNLOGGED TABLE perdure.projection_runners (
    name text NOT NULL COLLATE pg_catalog."C",
    version integer NOT NULL,
    build integer NOT NULL,
    runner text NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    rate real DEFAULT 0 NOT NULL,
    error text
);


--
-- Name: projection_segments; Type: TABLE; Schema: perdure; Owner: -
--

CREATE TABLE perdure.projection_segments (
    name text NOT NULL COLLATE pg_catalog."C",
    version integer NOT NULL,
    build integer NOT NULL,
    first_hash integer NOT NULL,
    last_hash integer NOT NULL,
    global_position bigint DEFAULT 0 NOT NULL,
    event_id uuid,
    status text DEFAULT 'running'::text NOT NULL,
    error json,
    owner text,
    leased_until timestamp with time zone,
    epoch bigint DEFAULT 0 NOT NULL,
    hold_at bigint,
    held_until timestamp with time zone,
    updated_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    repeats_up_to bigint DEFAULT 0 NOT NULL,
    CONSTRAINT projection_segments_check CHECK ((first_hash <= last_hash)),
    CONSTRAINT projection_segments_first_hash_check CHECK ((first_hash >= 0)),
    CONSTRAINT projection_segments_last_hash_check CHECK ((last_hash < 65536)),
    CONSTRAINT projection_segments_status_check CHECK ((status = ANY (ARRAY['running'::text, 'paused'::text])))
)
WITH (fillfactor='50');


--
-- Name: projections; Type: TABLE; Schema: perdure; Owner: -
--

CREATE TABLE perdure.projections (
    name text NOT NULL COLLATE pg_catalog."C",
    version integer NOT NULL,
    build integer DEFAULT 1 NOT NULL,
    mode text DEFAULT 'async'::text NOT NULL,
    table_schema text NOT NULL,
    shape json,
    stage text DEFAULT 'building'::text NOT NULL,
    is_shown boolean DEFAULT false NOT NULL,
    switches_automatically boolean DEFAULT true NOT NULL,
    switch_number bigint DEFAULT 0 NOT NULL,
    differences json,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    kind text DEFAULT 'projection'::text NOT NULL,
    start_position bigint DEFAULT 0 NOT NULL,
    start_event_id uuid,
    CONSTRAINT projections_build_check CHECK ((build > 0)),
    CONSTRAINT projections_kind_check CHECK ((kind = ANY (ARRAY['projection'::text, 'reaction'::text, 'relay'::text, 'process'::text]))),
    CONSTRAINT projections_mode_check CHECK ((mode = ANY (ARRAY['async'::text, 'inline'::text]))),
    CONSTRAINT projections_stage_check CHECK ((stage = ANY (ARRAY['building'::text, 'ready'::text, 'retained'::text]))),
    CONSTRAINT projections_version_check CHECK ((version > 0))
)
WITH (fillfactor='50');


--
-- Name: published; Type: TABLE; Schema: perdure; Owner: -
--

CREATE TABLE perdure.published (
    is_only boolean DEFAULT true NOT NULL,
    global_position bigint DEFAULT 0 NOT NULL,
    published_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT published_is_only_check CHECK (is_only)
)
WITH (fillfactor='10');


--
-- Name: roles; Type: TABLE; Schema: perdure; Owner: -
--

CREATE TABLE perdure.roles (
    role text NOT NULL,
    kind text NOT NULL,
    granted_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT roles_kind_check CHECK ((kind = ANY (ARRAY['reader'::text, 'writer'::text, 'projector'::text])))
);


--
-- Name: snapshots; Type: TABLE; Schema: perdure; Owner: -
--

CREATE TABLE perdure.snapshots (
    stream_id text NOT NULL COLLATE pg_catalog."C",
    stream_version integer NOT NULL,
    event_id uuid NOT NULL,
    state_version integer NOT NULL,
    state_shape text NOT NULL,
    state json NOT NULL,
    recorded_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT snapshots_stream_version_check CHECK ((stream_version > 0))
);


--
-- Name: streams; Type: VIEW; Schema: perdure; Owner: -
--

CREATE VIEW perdure.streams AS
 SELECT stream_id,
    max(stream_version) AS stream_version,
    max(recorded_at) AS last_updated
   FROM perdure.events e
  GROUP BY stream_id;


--
-- Name: timers; Type: TABLE; Schema: perdure; Owner: -
--

CREATE TABLE perdure.timers (
    name text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    timer text NOT NULL COLLATE pg_catalog."C",
    due_at timestamp with time zone NOT NULL,
    set_by uuid NOT NULL,
    data json DEFAULT 'null'::json NOT NULL,
    CONSTRAINT timers_storable CHECK (((octet_length(key) <= 2000) AND ((octet_length(timer) >= 1) AND (octet_length(timer) <= 200)) AND (due_at >= '0001-01-01 00:00:00+00'::timestamp with time zone) AND (due_at < '10000-01-01 00:00:00+00'::timestamp with time zone)))
)
WITH (fillfactor='70', autovacuum_vacuum_threshold='1000', autovacuum_vacuum_scale_factor='0.01', autovacuum_vacuum_insert_threshold='10000', autovacuum_vacuum_insert_scale_factor='0.05');


--
-- Name: orders__v1; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.orders__v1 (
    "order" text NOT NULL COLLATE pg_catalog."C",
    articles bigint NOT NULL
);


--
-- Name: orders; Type: VIEW; Schema: public; Owner: -
--

CREATE VIEW public.orders AS
 SELECT "order",
    articles
   FROM public.orders__v1;


--
-- Name: parcels__v1; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.parcels__v1 (
    parcel_id text NOT NULL COLLATE pg_catalog."C",
    place text NOT NULL,
    moves bigint NOT NULL
);


--
-- Name: parcels; Type: VIEW; Schema: public; Owner: -
--

CREATE VIEW public.parcels AS
 SELECT parcel_id,
    place,
    moves
   FROM public.parcels__v1;


--
-- Data for Name: events; Type: TABLE DATA; Schema: perdure; Owner: -
--

INSERT INTO perdure.events OVERRIDING SYSTEM VALUE VALUES (1, 'order-1', 1, '01a22f3f-fa75-7656-997a-7c81c3f25e91', 'dump.ordered', 1, DEFAULT, '{"order":"1","article":"pen","quantity":2}', '{"timestamp":"2026-12-01T01:37:31.765717Z"}', '2026-12-01 01:37:31.777666+00');
INSERT INTO perdure.events OVERRIDING SYSTEM VALUE VALUES (2, 'order-1', 2, '01a22f3f-fa75-7656-997a-7c82557e2bec', 'dump.ordered', 1, DEFAULT, '{"order":"1","article":"ink","quantity":1}', '{"timestamp":"2026-12-01T01:37:31.765749Z"}', '2026-12-01 01:37:31.778305+00');
INSERT INTO perdure.events OVERRIDING SYSTEM VALUE VALUES (3, 'order-2', 1, '01a22f3f-fa83-7671-a7e1-1c8a75f1f4b3', 'dump.ordered', 1, DEFAULT, '{"order":"2","article":"broken","quantity":1}', '{"timestamp":"2026-12-01T01:37:31.779633Z","correlation_id":"6f9619ff-8b86-4011-b42d-00c04fc964ff","user_id":"a \"quoted\" name","headers":{"client":"web"}}', '2026-12-01 01:37:31.791598+00');
INSERT INTO perdure.events OVERRIDING SYSTEM VALUE VALUES (4, 'order-3', 1, '01a22f3f-fa83-7671-a7e1-1c8bf2e1b799', 'dump.ordered', 1, DEFAULT, '{"order":"3","article":"broken","quantity":1}', '{"timestamp":"2026-12-01T01:37:31.779656Z","correlation_id":"6f9619ff-8b86-4011-b42d-00c04fc964ff","user_id":"a \"quoted\" name","headers":{"client":"web"}}', '2026-12-01 01:37:31.792487+00');
INSERT INTO perdure.events OVERRIDING SYSTEM VALUE VALUES (5, 'order-3', 2, '00000000-0000-4000-8000-000000000001', 'dump.ordered', 1, DEFAULT, '{"order":"3","article":"pen","quantity":1}', '{"timestamp":"2026-12-01T01:37:31.793334Z"}', '2026-12-01 01:37:31.794208+00');
INSERT INTO perdure.events OVERRIDING SYSTEM VALUE VALUES (6, 'parcel-7', 1, '01a22f3f-fad1-7781-ae0d-a80eb346676c', 'dump.moved', 1, DEFAULT, '{"to":"Hamburg"}', '{"timestamp":"2026-12-01T01:37:31.857514Z"}', '2026-12-01 01:37:31.863746+00');
INSERT INTO perdure.events OVERRIDING SYSTEM VALUE VALUES (7, 'parcel-7', 2, '01a22f3f-fad1-7781-ae0d-a80f66c86a7f', 'dump.moved', 1, DEFAULT, '{"to":"Bremen"}', '{"timestamp":"2026-12-01T01:37:31.857531Z"}', '2026-12-01 01:37:31.864227+00');


--
-- Data for Name: inline_streams; Type: TABLE DATA; Schema: perdure; Owner: -
--

INSERT INTO perdure.inline_streams VALUES ('parcels', 1, 1, 'parcel-7', 2);


--
-- Data for Name: migrations; Type: TABLE DATA; Schema: perdure; Owner: -
--

INSERT INTO perdure.migrations VALUES (100, '0100_baseline', 32, '2026-12-01 01:37:31.738997+00');
INSERT INTO perdure.migrations VALUES (101, '0101_repeats', 3, '2026-12-01 01:37:31.740401+00');
INSERT INTO perdure.migrations VALUES (102, '0102_starts', 3, '2026-12-01 01:37:31.741243+00');
INSERT INTO perdure.migrations VALUES (104, '0104_timers', 6, '2026-12-01 01:37:31.743483+00');


--
-- Data for Name: parked_events; Type: TABLE DATA; Schema: perdure; Owner: -
--

INSERT INTO perdure.parked_events VALUES ('orders', 1, 1, '{"order":"3"}', 24274, 4, '01a22f3f-fa83-7671-a7e1-1c8bf2e1b799', 'dump.ordered', 'order-3', 1, 'failed', '{"global_position":4,"stream_id":"order-3","stream_version":1,"event_id":"01a22f3f-fa83-7671-a7e1-1c8bf2e1b799","event_type":"dump.ordered","kind":"handler","error_type":"ValueError","message":"there is no such article","traceback":"Traceback (most recent call last):\n  File \"src/perdure/projections/engines/table/fold.py\", line 189, in fold\n    handled.append(_handle(definition, step, number, rows))\n                   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n  File \"src/perdure/projections/engines/table/fold.py\", line 220, in _handle\n    result = handling.handler(definition.projection, event, row)\n             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n  File \"tests/schema/dumped.py\", line 55, in ordered\n    raise ValueError(\"there is no such article\")\nValueError: there is no such article\n","attempts":1,"failed_at":"2026-12-01T01:37:31.828018Z","keys":["{\"order\":\"3\"}"]}', 1, false, '2026-12-01 01:37:31.829017+00', NULL);
INSERT INTO perdure.parked_events VALUES ('orders', 1, 1, '{"order":"3"}', 24274, 5, '00000000-0000-4000-8000-000000000001', 'dump.ordered', 'order-3', 2, 'waiting', NULL, 0, false, '2026-12-01 01:37:31.829033+00', NULL);
INSERT INTO perdure.parked_events VALUES ('orders', 1, 1, '{"order":"2"}', 13541, 3, '01a22f3f-fa83-7671-a7e1-1c8a75f1f4b3', 'dump.ordered', 'order-2', 1, 'skipped', '{"global_position":3,"stream_id":"order-2","stream_version":1,"event_id":"01a22f3f-fa83-7671-a7e1-1c8a75f1f4b3","event_type":"dump.ordered","kind":"handler","error_type":"ValueError","message":"there is no such article","traceback":"Traceback (most recent call last):\n  File \"src/perdure/projections/engines/table/fold.py\", line 189, in fold\n    handled.append(_handle(definition, step, number, rows))\n                   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n  File \"src/perdure/projections/engines/table/fold.py\", line 220, in _handle\n    result = handling.handler(definition.projection, event, row)\n             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n  File \"tests/schema/dumped.py\", line 55, in ordered\n    raise ValueError(\"there is no such article\")\nValueError: there is no such article\n","attempts":1,"failed_at":"2026-12-01T01:37:31.824359Z","keys":["{\"order\":\"2\"}"]}', 1, false, '2026-12-01 01:37:31.826439+00', NULL);


--
-- Data for Name: projection_actions; Type: TABLE DATA; Schema: perdure; Owner: -
--

INSERT INTO perdure.projection_actions OVERRIDING SYSTEM VALUE VALUES (1, 'orders', 1, 1, 'parked', 'vm:27674:057488', 'there is no such article', '{"key":"{\"order\":\"2\"}","positions":[3]}', '2026-12-01 01:37:31.827052+00');
INSERT INTO perdure.projection_actions OVERRIDING SYSTEM VALUE VALUES (2, 'orders', 1, 1, 'parked', 'vm:27674:057488', 'there is no such article', '{"key":"{\"order\":\"3\"}","positions":[4]}', '2026-12-01 01:37:31.829207+00');
INSERT INTO perdure.projection_actions OVERRIDING SYSTEM VALUE VALUES (3, 'orders', 1, 1, 'skipped', 'root@vm', 'the article was a mistake', '{"key":"{\"order\":\"2\"}","positions":[3]}', '2026-12-01 01:37:31.836501+00');
INSERT INTO perdure.projection_actions OVERRIDING SYSTEM VALUE VALUES (4, 'orders', 1, 2, 'rebuild asked', 'root@vm', 'to have a second build', '{"segments":1,"switch":"manual"}', '2026-12-01 01:37:31.840348+00');
INSERT INTO perdure.projection_actions OVERRIDING SYSTEM VALUE VALUES (5, 'orders', 1, 1, 'paused', 'root@vm', 'for the dump', NULL, '2026-12-01 01:37:31.842696+00');
INSERT INTO perdure.projection_actions OVERRIDING SYSTEM VALUE VALUES (6, 'orders', 1, 2, 'paused', 'root@vm', 'for the dump', NULL, '2026-12-01 01:37:31.842782+00');


--
-- Data for Name: projection_runners; Type: TABLE DATA; Schema: perdure; Owner: -
--



--
-- Data for Name: projection_segments; Type: TABLE DATA; Schema: perdure; Owner: -
--

INSERT INTO perdure.projection_segments VALUES ('orders', 1, 1, 0, 65535, 5, '00000000-0000-4000-8000-000000000001', 'paused', NULL, NULL, NULL, 1, NULL, NULL, '2026-12-01 01:37:31.842504+00', 0);
INSERT INTO perdure.projection_segments VALUES ('orders', 1, 2, 0, 65535, 0, NULL, 'paused', NULL, NULL, NULL, 0, NULL, NULL, '2026-12-01 01:37:31.842534+00', 0);
INSERT INTO perdure.projection_segments VALUES ('parcels', 1, 1, 0, 65535, 7, '01a22f3f-fad1-7781-ae0d-a80f66c86a7f', 'running', NULL, NULL, NULL, 1, NULL, NULL, '2026-12-01 01:37:31.869595+00', 0);


--
-- Data for Name: projections; Type: TABLE DATA; Schema: perdure; Owner: -
--

INSERT INTO perdure.projections VALUES ('orders', 1, 1, 'async', 'public', '[{"table":"orders__v1","view":"orders","key":["order"],"columns":{"order":"text not null","articles":"bigint not null"},"unique":[],"indexes":[]}]', 'retained', true, true, 1, NULL, '2026-12-01 01:37:31.799863+00', 'projection', 0, NULL);
INSERT INTO perdure.projections VALUES ('orders', 1, 2, 'async', 'public', NULL, 'building', false, false, 0, NULL, '2026-12-01 01:37:31.839729+00', 'projection', 0, NULL);
INSERT INTO perdure.projections VALUES ('parcels', 1, 1, 'inline', 'public', '[{"table":"parcels__v1","view":"parcels","key":["parcel_id"],"columns":{"parcel_id":"text not null","place":"text not null","moves":"bigint not null"},"unique":[],"indexes":[]}]', 'retained', true, true, 1, NULL, '2026-12-01 01:37:31.847798+00', 'projection', 0, NULL);


--
-- Data for Name: published; Type: TABLE DATA; Schema: perdure; Owner: -
--

INSERT INTO perdure.published VALUES (true, 0, '2026-12-01 01:37:31.729069+00');


--
-- Data for Name: roles; Type: TABLE DATA; Schema: perdure; Owner: -
--

INSERT INTO perdure.roles VALUES ('perdure_dump_writer', 'writer', '2026-12-01 01:37:31.764837+00');


--
-- Data for Name: snapshots; Type: TABLE DATA; Schema: perdure; Owner: -
--

INSERT INTO perdure.snapshots VALUES ('order-3', 2, '00000000-0000-4000-8000-000000000001', 1, 'shape', '{"articles":1}', '2026-12-01 01:37:31.794999+00');


--
-- Data for Name: timers; Type: TABLE DATA; Schema: perdure; Owner: -
--

INSERT INTO perdure.timers VALUES ('trials', '{"user_id":"1"}', 'end', '2100-01-01 00:00:00+00', '00000000-0000-4000-8000-000000000001', '[1]');


--
-- Data for Name: orders__v1; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.orders__v1 VALUES ('1', 3);


--
-- Data for Name: parcels__v1; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.parcels__v1 VALUES ('7', 'Bremen', 2);


--
-- Name: global_position; Type: SEQUENCE SET; Schema: perdure; Owner: -
--

SELECT pg_catalog.setval('perdure.global_position', 7, true);


--
-- Name: projection_actions_number_seq; Type: SEQUENCE SET; Schema: perdure; Owner: -
--

SELECT pg_catalog.setval('perdure.projection_actions_number_seq', 6, true);


--
-- Name: events events_event_id; Type: CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.events
    ADD CONSTRAINT events_event_id UNIQUE (event_id);


--
-- Name: events events_pkey; Type: CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (global_position);


--
-- Name: events events_stream_version; Type: CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.events
    ADD CONSTRAINT events_stream_version UNIQUE (stream_id, stream_version);


--
-- Name: inline_streams inline_streams_pkey; Type: CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.inline_streams
    ADD CONSTRAINT inline_streams_pkey PRIMARY KEY (name, version, build, stream_id);


--
-- Name: migrations migrations_pkey; Type: CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.migrations
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (number);


--
-- Name: parked_events parked_events_pkey; Type: CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.parked_events
    ADD CONSTRAINT parked_events_pkey PRIMARY KEY (name, version, build, key, global_position);


--
-- Name: projection_actions projection_actions_pkey; Type: CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.projection_actions
    ADD CONSTRAINT projection_actions_pkey PRIMARY KEY (number);


--
-- Name: projection_runners projection_runners_pkey; Type: CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.projection_runners
    ADD CONSTRAINT projection_runners_pkey PRIMARY KEY (name, version, build, runner);


--
-- Name: projection_segments projection_segments_pkey; Type: CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.projection_segments
    ADD CONSTRAINT projection_segments_pkey PRIMARY KEY (name, version, build, first_hash);


--
-- Name: projections projections_pkey; Type: CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.projections
    ADD CONSTRAINT projections_pkey PRIMARY KEY (name, version, build);


--
-- Name: published published_pkey; Type: CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.published
    ADD CONSTRAINT published_pkey PRIMARY KEY (is_only);


--
-- Name: roles roles_pkey; Type: CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.roles
    ADD CONSTRAINT roles_pkey PRIMARY KEY (role, kind);


--
-- Name: snapshots snapshots_pkey; Type: CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.snapshots
    ADD CONSTRAINT snapshots_pkey PRIMARY KEY (stream_id);


--
-- Name: timers timers_pkey; Type: CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.timers
    ADD CONSTRAINT timers_pkey PRIMARY KEY (name, key, timer);


--
-- Name: orders__v1 orders__v1_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.orders__v1
    ADD CONSTRAINT orders__v1_pkey PRIMARY KEY ("order");


--
-- Name: parcels__v1 parcels__v1_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.parcels__v1
    ADD CONSTRAINT parcels__v1_pkey PRIMARY KEY (parcel_id);


--
-- Name: events_category; Type: INDEX; Schema: perdure; Owner: -
--

CREATE INDEX events_category ON perdure.events USING btree (category, global_position);


--
-- Name: events_correlation; Type: INDEX; Schema: perdure; Owner: -
--

CREATE INDEX events_correlation ON perdure.events USING btree ("left"((metadata ->> 'correlation_id'::text), 64) COLLATE "C", global_position) WHERE ((metadata ->> 'correlation_id'::text) IS NOT NULL);


--
-- Name: timers_due; Type: INDEX; Schema: perdure; Owner: -
--

CREATE INDEX timers_due ON perdure.timers USING btree (due_at);


--
-- Name: events events_hold_position; Type: TRIGGER; Schema: perdure; Owner: -
--

CREATE TRIGGER events_hold_position BEFORE INSERT ON perdure.events FOR EACH STATEMENT EXECUTE FUNCTION perdure.hold_position();


--
-- Name: events events_refuse_change; Type: TRIGGER; Schema: perdure; Owner: -
--

CREATE TRIGGER events_refuse_change BEFORE DELETE OR UPDATE OR TRUNCATE ON perdure.events FOR EACH STATEMENT EXECUTE FUNCTION perdure.refuse_change();


--
-- Name: inline_streams inline_streams_name_version_build_fkey; Type: FK CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.inline_streams
    ADD CONSTRAINT inline_streams_name_version_build_fkey FOREIGN KEY (name, version, build) REFERENCES perdure.projections(name, version, build) ON DELETE CASCADE;


--
-- Name: parked_events parked_events_name_version_build_fkey; Type: FK CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.parked_events
    ADD CONSTRAINT parked_events_name_version_build_fkey FOREIGN KEY (name, version, build) REFERENCES perdure.projections(name, version, build) ON DELETE CASCADE;


--
-- Name: projection_segments projection_segments_name_version_build_fkey; Type: FK CONSTRAINT; Schema: perdure; Owner: -
--

ALTER TABLE ONLY perdure.projection_segments
    ADD CONSTRAINT projection_segments_name_version_build_fkey FOREIGN KEY (name, version, build) REFERENCES perdure.projections(name, version, build) ON DELETE CASCADE;


--
-- Name: SCHEMA perdure; Type: ACL; Schema: -; Owner: -
--

GRANT USAGE ON SCHEMA perdure TO perdure_dump_writer;


--
-- Name: FUNCTION append_batch(p_stream_ids text, p_expected_versions text, p_event_counts text, p_commits text, p_event_ids text, p_event_types text, p_event_versions text, p_event_data text, p_metadata text, p_look_up boolean, p_lock_timeout text, OUT statuses smallint[], OUT stream_versions integer[], OUT global_positions bigint[], OUT repeated_positions bigint[]); Type: ACL; Schema: perdure; Owner: -
--

REVOKE ALL ON FUNCTION perdure.append_batch(p_stream_ids text, p_expected_versions text, p_event_counts text, p_commits text, p_event_ids text, p_event_types text, p_event_versions text, p_event_data text, p_metadata text, p_look_up boolean, p_lock_timeout text, OUT statuses smallint[], OUT stream_versions integer[], OUT global_positions bigint[], OUT repeated_positions bigint[]) FROM PUBLIC;
GRANT ALL ON FUNCTION perdure.append_batch(p_stream_ids text, p_expected_versions text, p_event_counts text, p_commits text, p_event_ids text, p_event_types text, p_event_versions text, p_event_data text, p_metadata text, p_look_up boolean, p_lock_timeout text, OUT statuses smallint[], OUT stream_versions integer[], OUT global_positions bigint[], OUT repeated_positions bigint[]) TO perdure_dump_writer;


--
-- Name: FUNCTION append_event(p_stream_id text, p_expected_version integer, p_event_id uuid, p_event_type text, p_event_version smallint, p_event_data json, p_metadata json, p_lock_timeout text); Type: ACL; Schema: perdure; Owner: -
--

REVOKE ALL ON FUNCTION perdure.append_event(p_stream_id text, p_expected_version integer, p_event_id uuid, p_event_type text, p_event_version smallint, p_event_data json, p_metadata json, p_lock_timeout text) FROM PUBLIC;
GRANT ALL ON FUNCTION perdure.append_event(p_stream_id text, p_expected_version integer, p_event_id uuid, p_event_type text, p_event_version smallint, p_event_data json, p_metadata json, p_lock_timeout text) TO perdure_dump_writer;


--
-- Name: FUNCTION append_group(p_stream_ids text[], p_expected_versions integer[], p_event_counts integer[], p_condition_stream_ids text[], p_condition_versions integer[], p_event_ids uuid[], p_event_types text[], p_event_versions smallint[], p_event_data json[], p_metadata json[], p_look_up boolean, p_lock_timeout text, OUT status smallint, OUT stream_id text, OUT stream_version integer, OUT stream_versions integer[], OUT global_positions bigint[]); Type: ACL; Schema: perdure; Owner: -
--

REVOKE ALL ON FUNCTION perdure.append_group(p_stream_ids text[], p_expected_versions integer[], p_event_counts integer[], p_condition_stream_ids text[], p_condition_versions integer[], p_event_ids uuid[], p_event_types text[], p_event_versions smallint[], p_event_data json[], p_metadata json[], p_look_up boolean, p_lock_timeout text, OUT status smallint, OUT stream_id text, OUT stream_version integer, OUT stream_versions integer[], OUT global_positions bigint[]) FROM PUBLIC;
GRANT ALL ON FUNCTION perdure.append_group(p_stream_ids text[], p_expected_versions integer[], p_event_counts integer[], p_condition_stream_ids text[], p_condition_versions integer[], p_event_ids uuid[], p_event_types text[], p_event_versions smallint[], p_event_data json[], p_metadata json[], p_look_up boolean, p_lock_timeout text, OUT status smallint, OUT stream_id text, OUT stream_version integer, OUT stream_versions integer[], OUT global_positions bigint[]) TO perdure_dump_writer;


--
-- Name: FUNCTION cancel_timer(p_name text, p_key text, p_timer text, p_actor text, p_reason text); Type: ACL; Schema: perdure; Owner: -
--

REVOKE ALL ON FUNCTION perdure.cancel_timer(p_name text, p_key text, p_timer text, p_actor text, p_reason text) FROM PUBLIC;


--
-- Name: FUNCTION check_event(p_stream_id text, p_event_type text, p_event_version smallint, p_event_data json, p_metadata json); Type: ACL; Schema: perdure; Owner: -
--

REVOKE ALL ON FUNCTION perdure.check_event(p_stream_id text, p_event_type text, p_event_version smallint, p_event_data json, p_metadata json) FROM PUBLIC;


--
-- Name: FUNCTION check_event_at(p_position bigint, p_event_id uuid); Type: ACL; Schema: perdure; Owner: -
--

REVOKE ALL ON FUNCTION perdure.check_event_at(p_position bigint, p_event_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION perdure.check_event_at(p_position bigint, p_event_id uuid) TO perdure_dump_writer;


--
-- Name: FUNCTION check_position(p_position bigint); Type: ACL; Schema: perdure; Owner: -
--

REVOKE ALL ON FUNCTION perdure.check_position(p_position bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION perdure.check_position(p_position bigint) TO perdure_dump_writer;


--
-- Name: FUNCTION find_appends(p_stream_ids text[], p_commits integer[], p_event_ids uuid[], OUT statuses smallint[], OUT stream_versions integer[], OUT global_positions bigint[]); Type: ACL; Schema: perdure; Owner: -
--

REVOKE ALL ON FUNCTION perdure.find_appends(p_stream_ids text[], p_commits integer[], p_event_ids uuid[], OUT statuses smallint[], OUT stream_versions integer[], OUT global_positions bigint[]) FROM PUBLIC;


--
-- Name: FUNCTION find_repeats(p_stream_ids text[], p_commits integer[], p_event_ids uuid[], p_event_types text[], p_event_versions smallint[], p_event_data json[], OUT statuses smallint[], OUT stream_versions integer[], OUT global_positions bigint[]); Type: ACL; Schema: perdure; Owner: -
--

REVOKE ALL ON FUNCTION perdure.find_repeats(p_stream_ids text[], p_commits integer[], p_event_ids uuid[], p_event_types text[], p_event_versions smallint[], p_event_data json[], OUT statuses smallint[], OUT stream_versions integer[], OUT global_positions bigint[]) FROM PUBLIC;


--
-- Name: FUNCTION fire_timers(p_limit integer, OUT fired integer, OUT busy integer, OUT due_since timestamp with time zone, OUT looked_at timestamp with time zone, OUT next_due timestamp with time zone); Type: ACL; Schema: perdure; Owner: -
--

REVOKE ALL ON FUNCTION perdure.fire_timers(p_limit integer, OUT fired integer, OUT busy integer, OUT due_since timestamp with time zone, OUT looked_at timestamp with time zone, OUT next_due timestamp with time zone) FROM PUBLIC;


--
-- Name: FUNCTION firing_id(p_name text, p_key text, p_timer text, p_set_by uuid); Type: ACL; Schema: perdure; Owner: -
--

REVOKE ALL ON FUNCTION perdure.firing_id(p_name text, p_key text, p_timer text, p_set_by uuid) FROM PUBLIC;


--
-- Name: FUNCTION hold_position(); Type: ACL; Schema: perdure; Owner: -
--

REVOKE ALL ON FUNCTION perdure.hold_position() FROM PUBLIC;


--
-- Name: FUNCTION position_before(p_time timestamp with time zone); Type: ACL; Schema: perdure; Owner: -
--

REVOKE ALL ON FUNCTION perdure.position_before(p_time timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION perdure.position_before(p_time timestamp with time zone) TO perdure_dump_writer;


--
-- Name: FUNCTION process_stream(p_name text, p_key text); Type: ACL; Schema: perdure; Owner: -
--

REVOKE ALL ON FUNCTION perdure.process_stream(p_name text, p_key text) FROM PUBLIC;


--
-- Name: FUNCTION publish_position(OUT global_position bigint, OUT last_drawn bigint); Type: ACL; Schema: perdure; Owner: -
--

REVOKE ALL ON FUNCTION perdure.publish_position(OUT global_position bigint, OUT last_drawn bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION perdure.publish_position(OUT global_position bigint, OUT last_drawn bigint) TO perdure_dump_writer;


--
-- Name: FUNCTION refuse_change(); Type: ACL; Schema: perdure; Owner: -
--

REVOKE ALL ON FUNCTION perdure.refuse_change() FROM PUBLIC;


--
-- Name: FUNCTION safe_position(OUT safe_position bigint, OUT last_drawn bigint); Type: ACL; Schema: perdure; Owner: -
--

REVOKE ALL ON FUNCTION perdure.safe_position(OUT safe_position bigint, OUT last_drawn bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION perdure.safe_position(OUT safe_position bigint, OUT last_drawn bigint) TO perdure_dump_writer;


--
-- Name: FUNCTION store_namespace(); Type: ACL; Schema: perdure; Owner: -
--

REVOKE ALL ON FUNCTION perdure.store_namespace() FROM PUBLIC;
GRANT ALL ON FUNCTION perdure.store_namespace() TO perdure_dump_writer;


--
-- Name: FUNCTION store_schema(); Type: ACL; Schema: perdure; Owner: -
--

REVOKE ALL ON FUNCTION perdure.store_schema() FROM PUBLIC;


--
-- Name: TABLE events; Type: ACL; Schema: perdure; Owner: -
--

GRANT SELECT ON TABLE perdure.events TO perdure_dump_writer;


--
-- Name: TABLE categories; Type: ACL; Schema: perdure; Owner: -
--

GRANT SELECT ON TABLE perdure.categories TO perdure_dump_writer;


--
-- Name: TABLE event_types; Type: ACL; Schema: perdure; Owner: -
--

GRANT SELECT ON TABLE perdure.event_types TO perdure_dump_writer;


--
-- Name: SEQUENCE global_position; Type: ACL; Schema: perdure; Owner: -
--

GRANT SELECT ON SEQUENCE perdure.global_position TO perdure_dump_writer;


--
-- Name: TABLE inline_streams; Type: ACL; Schema: perdure; Owner: -
--

GRANT SELECT ON TABLE perdure.inline_streams TO perdure_dump_writer;


--
-- Name: TABLE migrations; Type: ACL; Schema: perdure; Owner: -
--

GRANT SELECT ON TABLE perdure.migrations TO perdure_dump_writer;


--
-- Name: TABLE parked_events; Type: ACL; Schema: perdure; Owner: -
--

GRANT SELECT ON TABLE perdure.parked_events TO perdure_dump_writer;


--
-- Name: TABLE projection_actions; Type: ACL; Schema: perdure; Owner: -
--

GRANT SELECT ON TABLE perdure.projection_actions TO perdure_dump_writer;


--
-- Name: TABLE projection_runners; Type: ACL; Schema: perdure; Owner: -
--

GRANT SELECT ON TABLE perdure.projection_runners TO perdure_dump_writer;


--
-- Name: TABLE projection_segments; Type: ACL; Schema: perdure; Owner: -
--

GRANT SELECT ON TABLE perdure.projection_segments TO perdure_dump_writer;


--
-- Name: TABLE projections; Type: ACL; Schema: perdure; Owner: -
--

GRANT SELECT ON TABLE perdure.projections TO perdure_dump_writer;


--
-- Name: TABLE published; Type: ACL; Schema: perdure; Owner: -
--

GRANT SELECT ON TABLE perdure.published TO perdure_dump_writer;


--
-- Name: TABLE roles; Type: ACL; Schema: perdure; Owner: -
--

GRANT SELECT ON TABLE perdure.roles TO perdure_dump_writer;


--
-- Name: TABLE snapshots; Type: ACL; Schema: perdure; Owner: -
--

GRANT SELECT,INSERT,UPDATE ON TABLE perdure.snapshots TO perdure_dump_writer;


--
-- Name: TABLE streams; Type: ACL; Schema: perdure; Owner: -
--

GRANT SELECT ON TABLE perdure.streams TO perdure_dump_writer;


--
-- Name: TABLE timers; Type: ACL; Schema: perdure; Owner: -
--

GRANT SELECT ON TABLE perdure.timers TO perdure_dump_writer;


--
-- PostgreSQL database dump complete
--


