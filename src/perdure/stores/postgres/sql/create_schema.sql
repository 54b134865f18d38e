-- The schema that holds the store.
create schema if not exists {schema}
