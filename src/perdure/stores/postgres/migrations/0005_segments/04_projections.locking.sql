-- What stands in the segments now.
alter table {schema}.projections
drop column global_position,
drop column event_id,
drop column status,
drop column error,
drop column updated_at
