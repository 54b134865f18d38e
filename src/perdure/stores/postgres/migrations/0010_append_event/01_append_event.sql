-- Appends one event to one stream, waiting for the stream's lock: as append_commit() does, of which it is the short way.
-- Without arrays, and with one value for a result, it takes a third less of what Perdure adds to a plain insert.
-- Expected version as in append_commit(). Returns {status, stream_version, global_position}, status as there, too; the
-- position is missing where there is none.
create function {schema}.append_event(
    p_stream_id text, p_expected_version integer,
    p_event_id uuid, p_event_type text, p_event_version smallint, p_event_data json, p_metadata json,
    p_lock_timeout text
)
returns bigint[]
language plpgsql volatile
-- With the rights of the schema's owner, for writers have none on the log; nobody's search path reaches into it.
security definer set search_path = pg_catalog, pg_temp
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
    -- Ids before versions: what isn't a conflict, but a repeat, is found there.
    return (
        select array[found.status, found.stream_version] || found.global_positions
        from {schema}.append_commit(
            p_stream_id, p_expected_version, array[p_event_id], array[p_event_type], array[p_event_version],
            array[p_event_data], array[p_metadata], true, p_lock_timeout
        ) found
    );
end
$$;
