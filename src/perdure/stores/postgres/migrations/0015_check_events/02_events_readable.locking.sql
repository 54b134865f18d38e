-- What is written can be read again, whatever client writes it. Nearly all events pass at a glance: what Perdure writes looks
-- so. What doesn't is looked at in full, and refused with what is wrong. Events that are there already aren't looked at.
alter table {schema}.events add constraint events_readable check (
    char_length(stream_id) <= 512
    and stream_id like '_%-_%'
    and left(stream_id, 1) <> '-'
    and stream_id !~ '[\x01-\x1f\x7f]'
    and char_length(event_type) between 1 and 200
    and event_type !~ '[\x01-\x20\x7f]'
    and event_version > 0
    and json_typeof(event_data) in ('object', 'array')
    -- Metadata: a timestamp, and behind it only texts, and headers that hold only texts.
    and metadata::text like '{"timestamp":"____-__-__T__:__:__%Z"%}'
    and (metadata ->> 'timestamp')::timestamptz is not null
    and (
        strpos(metadata::text, ',') = 0
        or metadata::text ~ '^[{](?:"[^"\\]*"[,:}{]*)*$'
        and strpos(replace(metadata::text, '"headers":{"', ''), ':{') = 0
        and strpos(metadata::text, '"headers":"') = 0
    )
    or {schema}.refuse_event(stream_id, event_type, event_version, event_data, metadata)
) not valid
