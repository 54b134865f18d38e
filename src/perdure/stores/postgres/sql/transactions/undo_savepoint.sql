-- Undo the part of the transaction. The savepoint stays; release_savepoint.sql takes it away.
rollback to savepoint perdure
