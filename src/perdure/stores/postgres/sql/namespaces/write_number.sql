-- Give the store another number. Sessions then plan the statements that used the old one again.
create or replace function {schema}.store_namespace() returns integer
language sql immutable parallel safe
return {namespace}
