-- The roles to which rights were granted, except roles that were dropped since.
select g.role, g.kind
from {schema}.roles g
join pg_roles r on r.rolname = g.role
order by g.role, g.kind
