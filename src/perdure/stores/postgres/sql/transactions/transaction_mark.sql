-- The mark of the transaction; an empty text, or null, where it bears none.
select current_setting('perdure.transaction', true)
