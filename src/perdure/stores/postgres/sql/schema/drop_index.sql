-- Drop an invalid index that a crash left behind while it was built concurrently.
drop index concurrently if exists {schema}.{index}
