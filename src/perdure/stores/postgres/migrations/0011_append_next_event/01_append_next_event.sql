-- Appends one event as append_event() does, for somebody who has read up to an event and waits for the next one. The answer
-- has one value more: when the new event was recorded, in microseconds since 1970, if it is that next one; null, if not.
-- It is so when it follows the other without a gap, in the very log that holds the other: then nothing can come in between
-- any more, and whoever waits need not read what was just written.
create function {schema}.append_next_event(
    p_stream_id text, p_expected_version integer,
    p_event_id uuid, p_event_type text, p_event_version smallint, p_event_data json, p_metadata json,
    p_lock_timeout text, p_last_position bigint, p_last_event_id uuid
)
returns bigint[]
language plpgsql volatile
-- With the rights of the schema's owner, for writers have none on the log; nobody's search path reaches into it.
security definer set search_path = pg_catalog, pg_temp
as $$
declare
    answer bigint[] := {schema}.append_event(
        p_stream_id, p_expected_version, p_event_id, p_event_type, p_event_version, p_event_data, p_metadata,
        p_lock_timeout
    );
    recorded bigint;
begin
    if answer[1] = 0 and answer[3] - 1 = p_last_position then
        select (extract(epoch from e.recorded_at) * 1000000)::bigint
        into recorded
        from {schema}.events e
        where e.global_position = answer[3] and exists (
            select from {schema}.events last
            where last.global_position = p_last_position and last.event_id = p_last_event_id
        );
    end if;
    return answer || recorded;
end
$$;
