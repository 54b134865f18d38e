-- Record which build of a projection the views show. $1 name, $2 version, $3 build
update {schema}.projections
set is_shown = (version = $2 and build = $3)
where name = $1
