-- Drop the tables of a build.
drop table if exists {tables}
