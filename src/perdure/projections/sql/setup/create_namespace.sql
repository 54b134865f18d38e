-- Create the schema that holds the tables and views of projections.
create schema {namespace}
