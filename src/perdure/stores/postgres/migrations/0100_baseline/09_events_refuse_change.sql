-- Guards the log against UPDATE, DELETE and TRUNCATE.
create trigger events_refuse_change before update or delete or truncate on {schema}.events
for each statement execute function {schema}.refuse_change();
