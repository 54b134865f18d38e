-- The isolation level of the caller's transaction.
select current_setting('transaction_isolation')
