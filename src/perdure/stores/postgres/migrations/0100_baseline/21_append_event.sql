-- Appends one event to one stream, waiting for the lock of the stream: the short way to what append_group() does.
-- Without arrays, and with one value for a result, it takes less time. Expected version as in append_group().
-- Returns {status, stream_version, global_position}, status as there; the position is missing if there is none.
create function {schema}.append_event(
    p_stream_id text, p_expected_version integer,
    p_event_id uuid, p_event_type text, p_event_version smallint, p_event_data json, p_metadata json,
    p_lock_timeout text
)
returns bigint[]
language plpgsql volatile
-- Runs with the rights of the schema's owner, because writers have none on the log. The fixed search path keeps objects of
-- the caller out.
security definer set search_path = pg_catalog, pg_temp
-- Plans are cached for the session. A plan that was made while the log was small must not scan it once it has grown.
set enable_seqscan = off
as $$
declare
    version integer;
    drawn bigint;
begin
    perform set_config('lock_timeout', p_lock_timeout, true);
    perform pg_advisory_xact_lock({schema}.store_namespace(), hashtext(p_stream_id));
    -- A statement of its own: its snapshot must be later than the lock.
    version := coalesce((
        select e.stream_version from {schema}.events e
        where e.stream_id = p_stream_id order by e.stream_version desc limit 1
    ), 0);
    if p_expected_version = version or p_expected_version = -1 or (p_expected_version = -2 and version > 0) then
        version := version + 1;
        insert into {schema}.events
            (stream_id, stream_version, event_id, event_type, event_version, event_data, metadata)
        values (p_stream_id, version, p_event_id, p_event_type, p_event_version, p_event_data, p_metadata)
        returning global_position into drawn;
        return array[0, version, drawn];
    end if;
    -- Ids before versions: a repeat isn't a conflict.
    return (
        select array[found.status, coalesce(found.stream_versions[1], found.stream_version)] || found.global_positions
        from {schema}.append_group(
            array[p_stream_id], array[p_expected_version], array[1], array[]::text[], array[]::integer[],
            array[p_event_id], array[p_event_type], array[p_event_version], array[p_event_data], array[p_metadata],
            true, p_lock_timeout
        ) found
    );
end
$$;
