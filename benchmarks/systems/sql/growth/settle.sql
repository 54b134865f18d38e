-- What autovacuum would do in time.
vacuum (analyze) {table}
