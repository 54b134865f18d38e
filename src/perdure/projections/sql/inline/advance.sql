-- Record that locked streams are folded up to these versions. $1 name, $2 version, $3 build, $4 stream_ids,
-- $5 their versions
update {schema}.inline_streams as s
set stream_version = asked.stream_version
from unnest($4::text[], $5::bigint[]) as asked (stream_id, stream_version)
where s.name = $1 and s.version = $2 and s.build = $3 and s.stream_id = asked.stream_id
    and s.stream_version < asked.stream_version
