-- Record that the number was drawn for this schema.
create or replace function {schema}.store_schema() returns text
language sql immutable parallel safe
return '{schema_name}'
