-- Cancel a timer, and note that in its process's log. Null if it isn't set.
select {schema}.cancel_timer($1, $2, $3, $4, $5)
