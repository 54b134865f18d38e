-- The timers that are set, the next due first: of one process, of one of its instances, or only those that are due.
select t.name, t.key, t.timer, t.due_at, t.due_at <= now.at as is_due, t.set_by, t.data
from {schema}.timers t
cross join (select clock_timestamp() as at) now
where ($1::text is null or t.name = $1)
    and ($2::text is null or t.key = $2)
    and ($3::boolean is null or (t.due_at <= now.at) = $3)
order by t.due_at, t.name, t.key, t.timer
limit $4
