-- Wait for the other writers of a stream, and keep those that follow waiting until the transaction ends. $1 stream_id
select pg_advisory_xact_lock({schema}.store_namespace(), hashtext($1))
