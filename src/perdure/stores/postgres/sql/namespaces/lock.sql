-- One at a time in a database draws a number, until the end of its transaction. Two-integer form: the fence never sees it.
select pg_advisory_xact_lock(739, 0)
