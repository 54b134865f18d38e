-- Let one process at a time compare and show the builds of a projection. Two-integer form: the fence never sees it.
-- $1 name; whether it is this one
select pg_try_advisory_xact_lock(738, hashtext($1))
