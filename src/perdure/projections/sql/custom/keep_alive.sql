-- Keep the transaction from being idle, so that the server doesn't end it.
select true
