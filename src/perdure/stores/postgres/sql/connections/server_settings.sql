-- The properties of the server that the store checks.
select
    current_setting('server_version_num')::integer as version,
    current_setting('synchronous_commit') as synchronous_commit,
    current_setting('extra_float_digits')::integer as extra_float_digits,
    current_setting('default_transaction_isolation') as isolation,
    pg_is_in_recovery() as in_recovery
