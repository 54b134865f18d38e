-- An event can't be handled: undo what was written for it.
rollback to savepoint perdure_event
