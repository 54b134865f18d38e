-- The number of open savepoints of this transaction. Each holds the lock of its own transaction id, beside the lock of the
-- transaction itself; assign_transaction_id.sql gives it one.
select count(*) - 1 from pg_locks where pid = pg_backend_pid() and locktype = 'transactionid' and mode = 'ExclusiveLock'
