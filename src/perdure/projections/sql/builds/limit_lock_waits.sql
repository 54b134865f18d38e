-- Give up soon where a lock isn't to be had: all who come later wait behind the one who waits for it. $1 milliseconds
select set_config('lock_timeout', $1::integer::text, true)
