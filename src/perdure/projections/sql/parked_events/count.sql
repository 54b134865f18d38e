-- The number of parked events of a build. $1 name, $2 version, $3 build, $4 where to stop counting
select count(*)
from (
    select 1
    from {schema}.parked_events
    where name = $1 and version = $2 and build = $3 and state <> 'skipped'
    limit $4
) as parked
