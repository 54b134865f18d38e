-- The version of a stream; no row if there is none. $1 stream_id
select stream_version
from {schema}.events
where stream_id = $1
order by stream_version desc
limit 1
