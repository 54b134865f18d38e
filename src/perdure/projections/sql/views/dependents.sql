-- What prevents dropping a view or a table: the objects that depend on it, or that users attached to it. Its own rule,
-- row type, storage, keys and indexes are dropped with it. $1 its oid, $2 oids of what is dropped together with it
select distinct case
        when d.classid = 'pg_rewrite'::regclass and r.ev_class <> $1
            then pg_describe_object('pg_class'::regclass, r.ev_class, 0)
        else pg_describe_object(d.classid, d.objid, d.objsubid)
    end as described
from pg_depend as d
left join pg_rewrite as r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
left join pg_constraint as k on d.classid = 'pg_constraint'::regclass and k.oid = d.objid
left join pg_class as c on c.oid = $1
where (
        (d.refclassid = 'pg_class'::regclass and d.refobjid = $1)
        or (d.refclassid = 'pg_type'::regclass and d.refobjid = c.reltype)
    )
    and d.deptype <> 'i'
    and (d.deptype = 'n' or c.relkind = 'v')
    and not (d.classid = 'pg_rewrite'::regclass and r.ev_class = $1 and r.rulename = '_RETURN')
    and coalesce(k.conrelid, 0::oid) <> all($2::oid[])
order by described
