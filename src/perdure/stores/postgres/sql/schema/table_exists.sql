-- Whether a table exists. $1 its quoted name
select to_regclass($1) is not null
