-- Whether the server accepts appends.
select pg_is_in_recovery() as in_recovery, current_setting('transaction_read_only')::boolean as read_only
