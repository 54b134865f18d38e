-- Record which version of a projection the views show. $1 name, $2 version
update {schema}.projections
set is_shown = version = $2
where name = $1
