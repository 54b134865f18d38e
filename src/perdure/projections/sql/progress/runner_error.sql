-- What prevents the runners of the shown build from going on, other than an event; no row if nothing does. $1 name
select r.error
from {schema}.projection_runners as r
inner join {schema}.projections as p on p.name = r.name and p.version = r.version and p.build = r.build
where p.name = $1 and p.is_shown and r.expires_at > clock_timestamp() and r.error is not null
limit 1
