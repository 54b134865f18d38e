-- Give up soon if a lock isn't available, because all later requests queue behind a waiting one.
select set_config('lock_timeout', '{lock_timeout}', true), set_config('statement_timeout', '0', true)
