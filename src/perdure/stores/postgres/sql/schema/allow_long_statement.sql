-- For a statement that blocks no other session, and may take long. $1 lock_timeout
select set_config('lock_timeout', $1, false), set_config('statement_timeout', '0', false)
