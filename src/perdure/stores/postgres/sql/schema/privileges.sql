-- The rights of roles other than the owner in a schema. $1 the schema's oid
select
    object.object_type, object.name, coalesce(r.rolname::text, 'public') as grantee, lower(one.privilege_type) as privilege
from (
    select 'schema' as object_type, '' as name, n.nspowner as owner, coalesce(n.nspacl, acldefault('n', n.nspowner)) as acl
    from pg_namespace n
    where n.oid = $1
    union all
    select
        case c.relkind when 'v' then 'view' when 'S' then 'sequence' else 'table' end, c.relname, c.relowner,
        coalesce(c.relacl, acldefault(case c.relkind when 'S' then 's' else 'r' end::"char", c.relowner))
    from pg_class c
    where c.relnamespace = $1 and c.relkind in ('r', 'p', 'v', 'S')
    union all
    select
        'function', p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')', p.proowner,
        coalesce(p.proacl, acldefault('f', p.proowner))
    from pg_proc p
    where p.pronamespace = $1
) as object
cross join lateral aclexplode(object.acl) as one
left join pg_roles r on r.oid = one.grantee
where one.grantee <> object.owner
