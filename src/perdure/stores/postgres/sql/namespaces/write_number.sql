-- Give the store another number. Sessions plan anew what has used the old one.
create or replace function {schema}.store_namespace() returns integer
language sql immutable parallel safe
return {namespace}
