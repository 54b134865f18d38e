-- Release the hold of builds. $1 name, $2 versions, $3 builds
update {schema}.projection_segments
set hold_at = null, held_until = null
where name = $1 and (version, build) in (select * from unnest($2::integer[], $3::integer[]))
    and held_until is not null
