-- The name of the schema for which the number of store_namespace() was drawn. A copy of a schema still has the name of the
-- original here, which is how a copy is recognised. A function, because other schemas can read it in the catalogs
-- without rights in this one.
create function {schema}.store_schema() returns text
language sql immutable parallel safe
return '{schema_name}';
