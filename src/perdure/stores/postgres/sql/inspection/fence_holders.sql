-- The sessions with an open transaction that has appended, lowest floor first: readers stop there. See safe_position().
select
    ((locks.classid::bigint & 65535) << 32) | locks.objid::bigint as floor,
    locks.pid,
    activity.usename as user_name,
    activity.application_name,
    host(activity.client_addr) as client_address,
    activity.state,
    activity.xact_start as begun_at
from pg_locks locks
left join pg_stat_activity activity on activity.pid = locks.pid
where locks.locktype = 'advisory'
    and locks.objsubid = 1
    and locks.classid::bigint >> 16 = {schema}.store_namespace()
    and locks.database = (select oid from pg_database where datname = current_database())
order by floor, activity.xact_start
