-- Release the savepoint: what was done since then becomes part of the transaction.
release savepoint perdure
