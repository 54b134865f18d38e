-- Whether the schema is there. $1 its quoted name
select to_regnamespace($1) is not null
