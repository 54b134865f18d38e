-- Open a cursor over a query, until the end of the transaction. It isn't prepared: behind a pooler, the name of a
-- prepared statement would remain in the server's session.
declare perdure_rows no scroll cursor for {query}
