-- For reading what one request set in motion. Events without a correlation id take no room in it.
-- It holds the first 64 characters of an id only, because the size of an index entry is limited.
create index events_correlation on {schema}.events ((left(metadata ->> 'correlation_id', 64) collate "C"), global_position)
where metadata ->> 'correlation_id' is not null;
