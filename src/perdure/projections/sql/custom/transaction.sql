-- The id of the transaction that the session is in; null, where it has written nothing
select pg_current_xact_id_if_assigned()::text
