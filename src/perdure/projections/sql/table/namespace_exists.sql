-- Whether the schema for the tables is there. $1 its quoted name
select to_regnamespace($1) is not null
