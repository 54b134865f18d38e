-- The session that migrates a schema. $1 schema
select
    a.pid, a.application_name, a.usename::text as user_name, a.state,
    extract(epoch from clock_timestamp() - a.xact_start)::double precision as transaction_age,
    extract(epoch from clock_timestamp() - a.query_start)::double precision as query_age
from pg_locks l
join pg_stat_activity a on a.pid = l.pid
where l.locktype = 'advisory' and l.objsubid = 2 and l.classid = 736
    and l.objid = (hashtext($1)::bigint & 4294967295)::oid
    and l.database = (select oid from pg_database where datname = current_database())
    and l.granted
