-- Wake followers of the log in other processes. Losing it loses no event, so its commit needn't wait. $1 channel
select set_config('synchronous_commit', 'off', true), pg_notify($1, '')
