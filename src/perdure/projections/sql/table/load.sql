-- The rows of some keys, as a JSON list. Each key takes one index lookup, whatever the planner's statistics say; values
-- don't depend on the session's settings. $1 keys, a JSON list of objects
select coalesce(json_agg(found.one), '[]')
from json_populate_recordset(null::{table}, $1) as asked
cross join lateral (
    select row_to_json(stored.*) as one
    from (select {loaded} from {table} as t where ({t_key}) = ({asked_key}) limit 1) as stored
) as found
