-- Make a role the owner of the schema, and of all objects in it that belong to its present owner.
do $transfer$
declare
    former oid;
    one record;
begin
    select n.nspowner into strict former from pg_namespace n where n.oid = to_regnamespace('{schema_literal}');
    execute format('alter schema %s owner to %s', '{schema_literal}', '{quoted_role_literal}');
    for one in
        select case c.relkind when 'v' then 'view' when 'S' then 'sequence' else 'table' end as kind, c.relname as name
        from pg_class c
        where c.relnamespace = to_regnamespace('{schema_literal}') and c.relowner = former
            and (
                c.relkind in ('r', 'v')
                -- The sequence of a column goes with its table.
                or c.relkind = 'S' and not exists (
                    select 1 from pg_depend d
                    where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype in ('a', 'i')
                )
            )
    loop
        execute format('alter %s %s.%I owner to %s', one.kind, '{schema_literal}', one.name, '{quoted_role_literal}');
    end loop;
    for one in
        select p.oid::regprocedure::text as name
        from pg_proc p
        where p.pronamespace = to_regnamespace('{schema_literal}') and p.proowner = former
    loop
        execute format('alter routine %s owner to %s', one.name, '{quoted_role_literal}');
    end loop;
end
$transfer$
