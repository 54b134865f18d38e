-- The rows of one version of a projection, or of a child table.
create table {table} ({definitions}, primary key ({key}))
