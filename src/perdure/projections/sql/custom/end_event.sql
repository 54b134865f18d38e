-- An event was handled.
release savepoint perdure_event
