-- What doesn't reach the rows: keys whose events wait, and events that were skipped as a whole, by position. A key is
-- to be looked at when somebody asks for it, or when nothing stands before the events that wait.
-- $1 name, $2 version, $3 build
select key, hash, null::bigint as skipped_position, is_asked or state = 'waiting' as is_asked
from (
    select distinct on (key) key, hash, state, is_asked
    from {schema}.parked_events
    where name = $1 and version = $2 and build = $3 and state <> 'skipped'
    order by key, global_position
) as first
union all
select key, hash, global_position, false
from {schema}.parked_events
where name = $1 and version = $2 and build = $3 and state = 'skipped' and key = ''
