-- The server, the user, the database and the clock of this session.
select
    current_setting('server_version') as server_version,
    current_user::text as user_name,
    current_database()::text as database_name,
    clock_timestamp() as clock
