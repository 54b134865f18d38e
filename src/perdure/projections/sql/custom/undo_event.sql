-- Roll back what was written for an event that failed.
rollback to savepoint perdure_event
