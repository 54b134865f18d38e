-- Whether any parked event is going to be retried without a further request. $1 name, $2 version, $3 build
select exists (
    select
    from {schema}.parked_events
    where name = $1 and version = $2 and build = $3 and (retry_at is not null or is_retry_requested)
        and state <> 'skipped'
)
