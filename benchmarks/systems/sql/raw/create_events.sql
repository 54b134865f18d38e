-- The same table as the store's, with the same indexes, but without its triggers: nothing fences the log.
create table if not exists raw.events (like perdure.events including all)
