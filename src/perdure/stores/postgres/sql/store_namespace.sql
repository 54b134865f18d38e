-- The number that sets the locks of the store apart.
select {schema}.store_namespace()
