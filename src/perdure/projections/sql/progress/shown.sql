-- Whether the views of a projection show the events at some positions, in one snapshot: the build that they show and its
-- position; a segment that is paused before the last of the positions; and one of the events that is parked in that
-- build, with the first parked event of the same row, which it waits behind. Each batch parks events in the transaction
-- that moves its checkpoint, and each retry unparks them in the transaction that writes the row. So no snapshot holds an
-- event as processed that is neither in the rows nor parked. $1 name, $2 positions
select known.is_known, reached.global_position, paused.paused_at, paused.pause_error, parked.parked_position,
    parked.key, parked.failed_position, parked.error, parked.parked_at, parked.is_retry_due
from (select exists (select from {schema}.projections where name = $1) as is_known) as known
left join {schema}.projections as shown on shown.name = $1 and shown.is_shown
left join lateral (
    select min(s.global_position) as global_position
    from {schema}.projection_segments as s
    where s.name = shown.name and s.version = shown.version and s.build = shown.build
) as reached on true
left join lateral (
    select s.global_position as paused_at, s.error as pause_error
    from {schema}.projection_segments as s
    where s.name = shown.name and s.version = shown.version and s.build = shown.build and s.status = 'paused'
        and s.global_position < (select max(position) from unnest($2::bigint[]) as asked (position))
    order by s.first_hash
    limit 1
) as paused on true
left join lateral (
    select e.global_position as parked_position, e.key, head.global_position as failed_position, head.error,
        head.parked_at, head.state = 'waiting' or head.is_retry_requested or head.retry_at is not null as is_retry_due
    from {schema}.parked_events as e
    cross join lateral (
        select h.global_position, h.state, h.error, h.parked_at, h.is_retry_requested, h.retry_at
        from {schema}.parked_events as h
        where h.name = e.name and h.version = e.version and h.build = e.build and h.key = e.key
            and h.state <> 'skipped'
        order by h.global_position
        limit 1
    ) as head
    where e.name = shown.name and e.version = shown.version and e.build = shown.build
        and e.global_position = any($2::bigint[]) and e.state <> 'skipped'
    order by is_retry_due, e.global_position
    limit 1
) as parked on true
