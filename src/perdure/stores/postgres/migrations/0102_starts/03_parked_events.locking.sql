-- When a failed event is tried again without an operator's request; null if it isn't.
alter table {schema}.parked_events
    add column retry_at timestamptz
