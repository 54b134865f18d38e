-- All rows of a read model's table, as users query them.
select * from {schema}.{view}
