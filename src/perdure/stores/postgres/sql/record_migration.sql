-- Remember that a migration was applied. $1 number, $2 name
insert into {schema}.migrations (number, name) values ($1, $2)
