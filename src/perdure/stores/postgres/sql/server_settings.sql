-- What the store needs to know of the server.
select
    current_setting('server_version_num')::integer as version,
    current_setting('synchronous_commit') as synchronous_commit,
    pg_is_in_recovery() as in_recovery
