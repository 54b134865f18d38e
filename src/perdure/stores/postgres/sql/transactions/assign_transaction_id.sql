-- Give the transaction, and its current savepoint, a transaction id, as any write does.
select pg_logical_emit_message(true, 'perdure', '')
