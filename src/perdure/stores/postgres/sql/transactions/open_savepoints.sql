-- How many savepoints of this transaction are open. An open one holds the lock of its own transaction id, beside that of
-- the transaction itself; assign_transaction_id.sql gives it one.
select count(*) - 1 from pg_locks where pid = pg_backend_pid() and locktype = 'transactionid' and mode = 'ExclusiveLock'
