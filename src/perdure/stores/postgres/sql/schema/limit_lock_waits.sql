-- Give up soon where a lock isn't to be had: all who come later wait behind the one who waits for it.
select set_config('lock_timeout', '{lock_timeout}', true), set_config('statement_timeout', '0', true)
