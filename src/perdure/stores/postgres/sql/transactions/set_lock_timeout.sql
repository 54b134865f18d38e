-- How long statements of the transaction wait for a lock, from now on. $1 lock_timeout
select set_config('lock_timeout', $1, true)
