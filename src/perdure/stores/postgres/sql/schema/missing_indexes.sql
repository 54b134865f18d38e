-- The indexes, keys and unique columns with which the tables of projections were created, and which they lack now; each
-- with the statement that creates it.
with declared as (
    select p.name as projection, p.table_schema, t.one ->> 'table' as table_name, d.kind,
        array(select json_array_elements_text(d.columns)) as columns
    from {schema}.projections as p
    cross join lateral json_array_elements(coalesce(p.shape, '[]')) as t (one)
    cross join lateral (
        select 'index' as kind, i.columns
        from json_array_elements(coalesce(t.one -> 'indexes', '[]')) as i (columns)
        union all
        select 'unique', u.columns
        from json_array_elements(coalesce(t.one -> 'unique', '[]')) as u (columns)
        union all
        select 'primary key', t.one -> 'key'
    ) as d
    where json_array_length(d.columns) > 0
),
present as (
    select n.nspname, c.relname, i.indisunique, array(
        select a.attname::text
        from unnest(i.indkey[0:i.indnkeyatts - 1]) with ordinality as k (number, place)
        inner join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = k.number
        order by k.place
    ) as columns
    from pg_index as i
    inner join pg_class as c on c.oid = i.indrelid
    inner join pg_namespace as n on n.oid = c.relnamespace
    where i.indisvalid and i.indpred is null
)
select d.projection, d.table_schema, d.table_name, d.kind, d.columns,
    format(
        case d.kind
            when 'index' then 'create index on %1$I.%2$I (%3$s)'
            else 'alter table %1$I.%2$I add %4$s (%3$s)%5$s'
        end,
        d.table_schema, d.table_name,
        (select string_agg(quote_ident(one), ', ' order by place) from unnest(d.columns) with ordinality as c (one, place)),
        d.kind, case d.kind when 'unique' then ' deferrable' end
    ) as statement
from declared as d
where not exists (
    select from present as p
    where p.nspname = d.table_schema and p.relname = d.table_name and p.columns = d.columns
        and (p.indisunique or d.kind = 'index')
)
order by d.projection, d.table_name, d.kind, d.columns
