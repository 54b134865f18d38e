-- Where the log ends.
select coalesce(max(global_position), 0) from raw.events
