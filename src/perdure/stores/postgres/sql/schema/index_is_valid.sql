-- Whether an index is valid; null if there is none. $1 its quoted name
select (select i.indisvalid from pg_index i where i.indexrelid = to_regclass($1))
