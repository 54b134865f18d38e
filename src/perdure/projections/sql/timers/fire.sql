-- Fire the timers that are due, at most so many.
select fired, busy, due_since, looked_at, next_due from {schema}.fire_timers($1)
