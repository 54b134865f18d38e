-- Create the schema that holds the store.
create schema {schema}
