-- Returns true if an event can be read again; otherwise raises an error that says what is wrong with it.
create function {schema}.check_event(
    p_stream_id text, p_event_type text, p_event_version smallint, p_event_data json, p_metadata json
)
returns boolean
language plpgsql immutable
as $$
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
$$;
