-- Limit the time that this transaction waits for a lock: later requests queue behind a waiting one. $1 milliseconds
select set_config('lock_timeout', $1::integer::text, true)
