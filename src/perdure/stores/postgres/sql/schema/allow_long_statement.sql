-- For a statement that holds nobody up, and so may take its time. $1 lock_timeout
select set_config('lock_timeout', $1, false), set_config('statement_timeout', '0', false)
