-- The objects of a schema in the catalogs: each with the table that it belongs to, its name and its definition.
-- $1 the schema's oid
select 'schema' as object_type, null::text as table_name, '' as name, '' as definition
from pg_namespace n
where n.oid = $1
union all
select
    case c.relkind when 'v' then 'view' when 'S' then 'sequence' else 'table' end, null, c.relname,
    case c.relkind
        when 'v' then pg_get_viewdef(c.oid)
        when 'S' then (
            select format(
                '%s, start %s, increment %s, minimum %s, maximum %s, cache %s%s', format_type(s.seqtypid, null),
                s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, case when s.seqcycle then ', cycle' end
            )
            from pg_sequence s where s.seqrelid = c.oid
        )
        else concat_ws(
            ', ', case c.relpersistence when 'p' then 'permanent' when 'u' then 'unlogged' else 'temporary' end,
            case when c.relrowsecurity then 'row level security' end,
            case when c.relforcerowsecurity then 'forced' end
        )
    end || coalesce(' with ' || c.reloptions::text, '')
from pg_class c
where c.relnamespace = $1 and c.relkind in ('r', 'p', 'v', 'S')
union all
select
    'column', c.relname, a.attname,
    format_type(a.atttypid, a.atttypmod)
    || case when a.attcollation = t.typcollation then '' else ' collate ' || a.attcollation::regcollation end
    || case when a.attnotnull then ' not null' else '' end
    || case a.attidentity when 'a' then ' generated always as identity' when 'd' then ' identity' else '' end
    || case a.attgenerated when 's' then ' generated stored ' when 'v' then ' generated virtual ' else '' end
    || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
join pg_type t on t.oid = a.atttypid
left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
where c.relnamespace = $1 and c.relkind in ('r', 'p')
union all
select
    'constraint', c.relname, k.conname,
    pg_get_constraintdef(k.oid) || case when k.convalidated then '' else ', not validated' end
from pg_constraint k
join pg_class c on c.oid = k.conrelid
-- Not-null constraints are listed with their columns, because servers before 18 don't list them separately.
where c.relnamespace = $1 and k.contype <> 'n'
union all
select
    'index', c.relname, i.relname,
    pg_get_indexdef(x.indexrelid) || case when x.indisvalid and x.indisready then '' else ', invalid' end
from pg_index x
join pg_class i on i.oid = x.indexrelid
join pg_class c on c.oid = x.indrelid
where c.relnamespace = $1 and c.relkind in ('r', 'p')
union all
select
    'trigger', c.relname, g.tgname,
    pg_get_triggerdef(g.oid)
    || case g.tgenabled when 'O' then '' when 'D' then ', disabled' else ', enabled only for some sessions' end
from pg_trigger g
join pg_class c on c.oid = g.tgrelid
where c.relnamespace = $1 and not g.tgisinternal
union all
select 'rule', c.relname, r.rulename, pg_get_ruledef(r.oid)
from pg_rewrite r
join pg_class c on c.oid = r.ev_class
where c.relnamespace = $1 and c.relkind in ('r', 'p')
union all
select
    'function', null, p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')', pg_get_functiondef(p.oid)
from pg_proc p
where p.pronamespace = $1 and p.prokind in ('f', 'p')
