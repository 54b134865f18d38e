-- The sessions that a session waits for, the one with the oldest transaction first. $1 its pid
select
    blocker.pid, coalesce(a.application_name, 'a prepared transaction') as application_name, a.usename::text as user_name, a.state,
    extract(epoch from clock_timestamp() - a.xact_start)::double precision as transaction_age,
    extract(epoch from clock_timestamp() - a.query_start)::double precision as query_age
from unnest(pg_blocking_pids($1)) as blocker (pid)
left join pg_stat_activity a on a.pid = blocker.pid
order by a.xact_start nulls last
