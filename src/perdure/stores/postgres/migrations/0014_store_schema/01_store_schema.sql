-- The name of the schema for which the number of store_namespace() was drawn. In a copy of the schema it isn't the copy's
-- own: so a copy is known, and refused where another schema has the number, too. A function, so that others can read it
-- in the catalogs, without rights in this schema.
create function {schema}.store_schema() returns text
language sql immutable parallel safe
return '{schema_name}';
