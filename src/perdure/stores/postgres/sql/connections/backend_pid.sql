-- The process id of the server process that runs this session.
select pg_backend_pid()
