-- What happens to processes goes into the log by these functions alone, which run with the rights of the schema's owner.
grant execute on function {schema}.fire_timers, {schema}.cancel_timer
to {role}
