-- All rows of a read model's table, as people query them.
select * from {schema}.{view}
