-- Begin to hand out the rows of a query, until the end of the transaction or of them. Without a prepared statement, whose
-- name would stay behind in the session that a pooler lent.
declare perdure_rows no scroll cursor for {query}
