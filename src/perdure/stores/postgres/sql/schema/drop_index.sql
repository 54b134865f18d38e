-- Take away what was left of an index that was built concurrently, by a crash.
drop index concurrently if exists {schema}.{index}
