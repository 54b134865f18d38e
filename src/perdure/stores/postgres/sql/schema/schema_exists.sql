-- Whether the schema exists. $1 its quoted name
select to_regnamespace($1) is not null
