-- Create an index of a table.
create index on {table} ({indexed})
