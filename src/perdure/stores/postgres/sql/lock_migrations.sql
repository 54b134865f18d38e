-- Let one process at a time migrate a schema. Two-integer form: the fence never sees it. $1 schema
select pg_advisory_xact_lock(736, hashtext($1))
