-- Let one process at a time set up a projection. Two-integer form: the fence never sees it. $1 name
select pg_advisory_xact_lock(737, hashtext($1))
