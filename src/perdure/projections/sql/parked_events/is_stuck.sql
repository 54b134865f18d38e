-- Whether the limit is reached, and no parked event is going to be retried without a further request.
-- $1 name, $2 version, $3 build, $4 how many may be parked
select count(*) >= $4 and not coalesce(bool_or(retry_at is not null or is_retry_requested), false)
from {schema}.parked_events
where name = $1 and version = $2 and build = $3 and state <> 'skipped'
