-- The mark of the transaction; an empty text, or null, if it has none.
select current_setting('perdure.transaction', true)
