-- The oid and the options of a view or table. $1 its quoted schema, $2 its name
select oid, reloptions
from pg_class
where relnamespace = to_regnamespace($1) and relname = $2
