-- The audit log, newest entry first. $1 name, or null, $2 how many entries at most
select number, name, version, build, action, actor, reason, detail, done_at
from {schema}.projection_actions
where $1::text is null or name = $1
order by number desc
limit $2
