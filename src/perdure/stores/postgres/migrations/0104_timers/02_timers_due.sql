-- For finding what is due.
create index timers_due on {schema}.timers (due_at);
