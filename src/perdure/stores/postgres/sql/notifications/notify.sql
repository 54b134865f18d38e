-- Wake those who follow the log in other processes. Nothing is lost with it, so its commit needn't wait. $1 channel
select set_config('synchronous_commit', 'off', true), pg_notify($1, '')
