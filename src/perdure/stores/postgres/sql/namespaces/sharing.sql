-- Whether a schema's number was drawn for it, whether its functions name this schema, and which other schemas have the same
-- number. If it wasn't drawn for this schema, it belongs to the others; if it was drawn for both, to the older. $1 its name
select
    mine.is_own,
    exists (
        select from pg_catalog.pg_proc p
        where p.pronamespace = mine.oid and p.proname = 'hold_position'
            and strpos(p.prosrc, '{schema_literal}.store_namespace()') > 0
    ) as leads_to_itself,
    other.name,
    not mine.is_own or (other.is_own and other.oid < mine.oid) as comes_first
from ({numbers}) mine
left join ({numbers}) other on other.number = mine.number and other.oid <> mine.oid
where mine.name = $1
order by other.name
