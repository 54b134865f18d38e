-- Fences every insert into the log.
create trigger events_hold_position before insert on {schema}.events
for each statement execute function {schema}.hold_position();
