-- The tables of a build that nobody wants any more.
drop table if exists {tables}
