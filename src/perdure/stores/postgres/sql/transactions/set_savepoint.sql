-- Set a savepoint: what follows can be undone alone.
savepoint perdure
