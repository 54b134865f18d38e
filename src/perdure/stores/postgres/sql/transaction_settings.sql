-- What of the caller's transaction decides whether events may be appended in it.
select
    current_setting('transaction_isolation') as isolation,
    current_setting('synchronous_commit') as synchronous_commit
