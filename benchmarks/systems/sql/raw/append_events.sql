-- Many events, column by column.
insert into raw.events (stream_id, stream_version, event_id, event_type, event_version, event_data, metadata)
select one.stream_id, one.stream_version, one.event_id, one.event_type, 1, one.event_data, one.metadata
from unnest($1::text[], $2::integer[], $3::uuid[], $4::text[], $5::json[], $6::json[])
    as one (stream_id, stream_version, event_id, event_type, event_data, metadata)
