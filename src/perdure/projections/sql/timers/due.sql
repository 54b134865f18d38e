-- How many timers are due, counted up to a limit, and for how many seconds the longest of them.
select count(*) as due, coalesce(extract(epoch from max(now.at) - min(one.due_at)), 0)::double precision as due_seconds
from (select clock_timestamp() as at) now
cross join lateral (
    select t.due_at from {schema}.timers t where t.due_at <= now.at order by t.due_at limit $1
) one
