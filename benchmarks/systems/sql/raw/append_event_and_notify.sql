-- An event, and a notification of it, in one commit.
with written as (
    insert into raw.events (stream_id, stream_version, event_id, event_type, event_version, event_data, metadata)
    values ($1, $2, $3, $4, 1, $5, $6)
)
select pg_notify('raw_events', '')
