-- For reading what one request set in motion. Events without a correlation id take no room in it.
-- Only the beginning of the id: an index takes no value of any length.
create index {concurrently} events_correlation on {schema}.events ((left(metadata ->> 'correlation_id', 64) collate "C"), global_position)
where metadata ->> 'correlation_id' is not null;
