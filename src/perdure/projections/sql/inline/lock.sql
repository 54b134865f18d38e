-- Lock streams, so that one transaction at a time folds them, and return the version up to which each is folded. They
-- are locked in the order of their ids, so that transactions can't deadlock. $1 name, $2 version, $3 build, $4
-- stream_ids
insert into {schema}.inline_streams as s (name, version, build, stream_id)
select $1, $2, $3, stream_id
from unnest($4::text[]) as asked (stream_id)
order by stream_id
on conflict (name, version, build, stream_id) do update set stream_version = s.stream_version
returning stream_id, stream_version
