-- Whether the store's table of migrations is there. $1 its quoted name
select to_regclass($1) is not null
