-- Hold streams, so that one at a time folds them: up to which version each is folded. In the order of their ids, so that
-- those who hold several never wait for each other. $1 name, $2 version, $3 build, $4 stream_ids
insert into {schema}.inline_streams as s (name, version, build, stream_id)
select $1, $2, $3, stream_id
from unnest($4::text[]) as asked (stream_id)
order by stream_id
on conflict (name, version, build, stream_id) do update set stream_version = s.stream_version
returning stream_id, stream_version
