-- Record that a build is complete; a row if it was being built. $1 name, $2 version, $3 build, $4 how its rows differ
-- from those of the shown build, or null
update {schema}.projections
set stage = 'ready', differences = $4
where name = $1 and version = $2 and build = $3 and stage = 'building'
returning true
