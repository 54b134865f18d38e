-- End the part of the transaction, and keep it.
release savepoint perdure
