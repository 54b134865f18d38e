-- Move the due times of timers into the past by an interval, as if it had gone by. For tests.
update {schema}.timers set due_at = due_at - $1::interval
where $2::text is null or name = $2
