-- Before an event is handled.
savepoint perdure_event
