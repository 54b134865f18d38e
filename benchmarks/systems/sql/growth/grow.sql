-- Events number $1 to $2, twenty in each stream, as they are appended. $3 event_type
insert into {table} (stream_id, stream_version, event_id, event_type, event_version, event_data, metadata)
select
    'content-' || md5((number / 20)::text), number % 20 + 1,
    -- Growing with time, as those of version 7 do.
    ('0190' || lpad(to_hex(number), 8, '0') || '7000' || '8' || substr(md5(number::text), 1, 15))::uuid, $3, 1,
    json_build_object(
        'content_id', 'title-' || number % 10000, 'user_id', 'user-' || lpad(number::text, 12, '0'),
        'watch_duration_seconds', number * 7919 % 10000, 'completion_percentage', 50.5, 'genre', 'Drama'
    ),
    ('{"timestamp":"' || to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') || '"}')::json
from generate_series($1::bigint, $2::bigint) as number
