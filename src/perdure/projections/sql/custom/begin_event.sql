-- Set a savepoint before an event is handled.
savepoint perdure_event
