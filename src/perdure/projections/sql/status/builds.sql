-- The builds of all projections, or of one, with their parked events and the age of the first event that each still has
-- to process. $1 name or null
select p.name, p.version, p.build, p.is_shown, p.kind, p.mode, p.table_schema, p.created_at, p.stage, p.differences,
    log.end_position, first.lag_seconds, extract(epoch from clock_timestamp() - p.created_at)::float8 as age,
    parked.failed, parked.waiting, parked.skipped
from {schema}.projections as p
cross join (select coalesce(max(global_position), 0) as end_position from {schema}.events) as log
left join lateral (
    select extract(epoch from clock_timestamp() - recorded_at)::float8 as lag_seconds
    from {schema}.events
    where global_position > (
        select min(global_position)
        from {schema}.projection_segments as s
        where s.name = p.name and s.version = p.version and s.build = p.build
    )
    order by global_position
    limit 1
) as first on true
cross join lateral (
    select count(*) filter (where state = 'failed') as failed, count(*) filter (where state = 'waiting') as waiting,
        count(*) filter (where state = 'skipped') as skipped
    from {schema}.parked_events as e
    where e.name = p.name and e.version = p.version and e.build = p.build
) as parked
where $1::text is null or p.name = $1
order by p.name, p.version, p.build
