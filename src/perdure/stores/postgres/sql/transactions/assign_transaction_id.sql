-- Give the transaction, and the savepoint that it is in, a transaction id: whatever is written does so.
select pg_logical_emit_message(true, 'perdure', '')
