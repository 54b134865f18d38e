-- Let one process at a time migrate a schema, until the end of its transaction. Without waiting: who waited here would
-- hold a snapshot, for whose end an index that is built concurrently waits in turn. Two-integer form: the fence never
-- sees it. $1 schema
select pg_try_advisory_xact_lock(736, hashtext($1))
