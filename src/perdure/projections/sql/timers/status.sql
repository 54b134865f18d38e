-- For each process: how many timers are set, how many of them are due, since how many seconds, and when the next is due.
select
    name,
    count(*) as timers,
    count(*) filter (where due_at <= now.at) as due,
    greatest(extract(epoch from max(now.at) - min(due_at)), 0)::double precision as due_seconds,
    min(due_at) as next_due
from {schema}.timers
cross join (select clock_timestamp() as at) now
where $1::text is null or name = $1
group by name
order by name
