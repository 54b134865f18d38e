-- Create a table of a build, or of one of its child tables.
create table {table} ({definitions}, primary key ({key}){unique})
