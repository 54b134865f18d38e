-- Release the savepoint after an event was handled.
release savepoint perdure_event
