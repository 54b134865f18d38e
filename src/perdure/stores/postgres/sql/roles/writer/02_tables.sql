-- Snapshots are a cache, so writing them asks for no function.
grant insert, update on {schema}.snapshots to {role}
