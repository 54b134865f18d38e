-- How long statements of the transaction wait for a lock.
select current_setting('lock_timeout')
