-- Whether a role is the owner of the schema, or may act as the owner; no row if the role doesn't exist. $1 role, $2 schema
select pg_has_role(r.oid, n.nspowner, 'member') as acts_as_owner
from pg_roles r
left join pg_namespace n on n.nspname = $2
where r.rolname = $1
