-- The rows of some keys, as a JSON list. One look into the index for each key, whatever the planner knows of the table,
-- and values in a form that doesn't depend on the session's settings. $1 keys, a JSON list of objects
select coalesce(json_agg(found.one), '[]')
from json_populate_recordset(null::{table}, $1) as asked
cross join lateral (
    select row_to_json(stored) as one
    from (select {loaded} from {table} as t where ({t_key}) = ({asked_key}) limit 1) as stored
) as found
