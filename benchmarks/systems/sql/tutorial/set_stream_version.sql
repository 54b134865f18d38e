-- The new version of a stream.
insert into streams (stream_id, version) values ($1, $2)
on conflict (stream_id) do update set version = excluded.version, updated_at = now()
