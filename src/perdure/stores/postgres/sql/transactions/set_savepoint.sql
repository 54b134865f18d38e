-- Begin a part of the transaction that can be undone alone.
savepoint perdure
