-- Return whether this transaction is the only one that compares or shows builds of the projection. Two-integer form:
-- the fence never sees it. $1 name
select pg_try_advisory_xact_lock(738, hashtext($1))
