-- The oid of a schema. $1 its quoted name
select to_regnamespace($1)::oid
