-- A page of the log. It loses events when a later one is committed first; tutorials do that.
select id, event_type, data from events where id > $1 order by id limit $2
