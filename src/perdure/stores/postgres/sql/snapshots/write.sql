-- Store a snapshot in place of an earlier one, or of one that is beyond the end of its stream.
-- The commit needn't wait for the disk: a snapshot that is lost in a crash is taken again.
-- $1 stream_id, $2 stream_version, $3 event_id, $4 state_version, $5 state_shape, $6 state
insert into {schema}.snapshots as kept (stream_id, stream_version, event_id, state_version, state_shape, state)
values ($1, $2, $3, $4, $5, $6)
on conflict (stream_id) do update set
    stream_version = excluded.stream_version,
    event_id = excluded.event_id,
    state_version = excluded.state_version,
    state_shape = excluded.state_shape,
    state = excluded.state,
    recorded_at = excluded.recorded_at
where kept.stream_version <= excluded.stream_version
    or not exists (
        select 1 from {schema}.events e
        where e.stream_id = kept.stream_id and e.stream_version = kept.stream_version
    )
returning set_config('synchronous_commit', 'off', true)
