-- Wait until no other transaction sets up, shows or drops a build of the projection. Two-integer form: the fence never
-- sees it. $1 name
select pg_advisory_xact_lock(737, hashtext($1))
