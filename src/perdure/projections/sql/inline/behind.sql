-- The streams that aren't folded up to a version yet. $1 name, $2 version, $3 build, $4 stream_ids,
-- $5 their versions
select asked.stream_id
from unnest($4::text[], $5::bigint[]) as asked (stream_id, stream_version)
left join {schema}.inline_streams as s
    on s.name = $1 and s.version = $2 and s.build = $3 and s.stream_id = asked.stream_id
where coalesce(s.stream_version, 0) < asked.stream_version
