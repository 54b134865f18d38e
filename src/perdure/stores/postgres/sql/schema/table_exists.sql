-- Whether a table is there. $1 its quoted name
select to_regclass($1) is not null
