-- Snapshots are a cache, so writers write them without a function.
grant insert, update on {schema}.snapshots to {role}
