-- Release leased segments. $1 name, $2 version, $3 build, $4 owner, $5 first hashes, $6 the last position for which the
-- owner may have called a reaction
update {schema}.projection_segments
set owner = null, leased_until = null, repeats_up_to = greatest(repeats_up_to, $6)
where name = $1 and version = $2 and build = $3 and owner = $4 and first_hash = any($5::integer[])
