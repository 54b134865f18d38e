-- The statements that give a relation the owner, the rights and the comments of another one, instead of its own.
-- $1 oid of the relation to copy from, $2 oid of the relation to change
with old as (
    select c.*, c.oid as relation, obj_description(c.oid, 'pg_class') as comment
    from pg_class as c
    where c.oid = $1
),
new as (
    select c.*, c.oid::regclass::text as named,
        case c.relkind when 'v' then 'view' else 'table' end as kind
    from pg_class as c
    where c.oid = $2
),
columns as (
    select o.attname, o.attacl, col_description(o.attrelid, o.attnum) as comment
    from pg_attribute as o
    inner join pg_attribute as n on n.attrelid = $2 and n.attname = o.attname and n.attnum > 0
    where o.attrelid = $1 and o.attnum > 0 and not o.attisdropped
),
rights as (
    select '' as columns, (aclexplode(relacl)).*
    from old
    union all
    select format('(%I)', attname), (aclexplode(attacl)).*
    from columns
)
select statement
from (
    select 1 as number, format('alter %s %s owner to %I', new.kind, new.named, pg_get_userbyid(old.relowner))
        as statement
    from old, new
    where old.relowner <> new.relowner and new.kind = 'view'
    union all
    select 2, format(
        'revoke all on %s from %s', new.named, case grantee when 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end
    )
    from new, lateral (select distinct grantee from aclexplode(new.relacl)) as granted
    where grantee <> new.relowner
    union all
    select 3, format(
        'grant %s%s on %s to %s%s', privilege_type, rights.columns, new.named,
        case grantee when 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end,
        case when is_grantable then ' with grant option' else '' end
    )
    from rights, old, new
    where grantee <> old.relowner
    union all
    select 4, format('comment on %s %s is %L', new.kind, new.named, old.comment)
    from old, new
    where old.comment is not null
    union all
    select 5, format('comment on column %s.%I is %L', new.named, columns.attname, columns.comment)
    from columns, new
    where columns.comment is not null
) as statements
order by number, statement
