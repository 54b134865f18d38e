-- The number that sets the advisory locks of this store apart from those of other stores. Drawn when the schema is made.
create function {schema}.store_namespace() returns integer
language sql immutable parallel safe
return {namespace};
