-- The schemas of the database that have a number for their locks, and whether each says that it was drawn for it.
-- It reads only the catalogs: a function of another schema could do anything, with the caller's rights. A body that isn't a
-- plain number isn't Perdure's; a long one isn't even printed.
select
    n.oid, n.nspname::text as name,
    case when pg_column_size(p.prosqlbody) < 4000
        then substring(pg_get_function_sqlbody(p.oid) from '^RETURN (\d{1,5})$')::integer
    end as number,
    coalesce(case when pg_column_size(r.prosqlbody) < 4000
        then pg_get_function_sqlbody(r.oid) in (
            'RETURN ''' || replace(n.nspname, '''', '''''') || '''::text',
            'RETURN ''' || replace(n.nspname, '''', '''''') || '''::pg_catalog.text'
        )
    end, false) as is_own
from pg_catalog.pg_proc p
join pg_catalog.pg_namespace n on n.oid = p.pronamespace
left join pg_catalog.pg_proc r
    on r.proname = 'store_schema' and r.pronargs = 0 and r.pronamespace = n.oid and r.prorettype = 'text'::regtype
where p.proname = 'store_namespace' and p.pronargs = 0 and p.prorettype = 'integer'::regtype
    and n.nspname not like 'pg\_%'
