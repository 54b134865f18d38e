-- For reading the log of one category.
create index events_category on {schema}.events (category, global_position);
