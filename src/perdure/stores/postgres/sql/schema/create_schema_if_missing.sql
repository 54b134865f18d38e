-- The schema that holds the store, unless it was made for it beforehand.
create schema if not exists {schema}
