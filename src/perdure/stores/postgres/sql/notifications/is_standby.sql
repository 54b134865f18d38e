-- Whether the server is a standby, which accepts no writes.
select pg_is_in_recovery()
