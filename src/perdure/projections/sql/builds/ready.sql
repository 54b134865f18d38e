-- A build is complete. $1 name, $2 version, $3 build, $4 in what it differs from the one that is shown, or null
update {schema}.projections
set stage = 'ready', differences = $4
where name = $1 and version = $2 and build = $3 and stage = 'building'
returning true
