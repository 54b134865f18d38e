-- Whoever uses the store needs to see its schema.
grant usage on schema {schema} to {role}
