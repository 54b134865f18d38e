-- Roll back to the savepoint. It remains set; release_savepoint.sql releases it.
rollback to savepoint perdure
