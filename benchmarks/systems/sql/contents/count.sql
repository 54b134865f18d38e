-- How many events there are.
select count(*) from {table}
