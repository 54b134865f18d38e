-- Let one transaction at a time in a database draw a number. Two-integer form: the fence never sees it.
select pg_advisory_xact_lock(739, 0)
