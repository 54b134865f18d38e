-- Create the schema that holds the store, unless it was created in advance.
create schema if not exists {schema}
