-- All users of the store need to see its schema.
grant usage on schema {schema} to {role}
