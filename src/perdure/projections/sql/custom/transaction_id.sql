-- The id of the session's transaction; null if it has written nothing.
select pg_current_xact_id_if_assigned()::text
