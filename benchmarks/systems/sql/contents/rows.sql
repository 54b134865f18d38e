-- A read model, for verification.
select content_id, views, seconds from {table}
