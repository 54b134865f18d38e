-- All rows of a table, as JSON.
select row_to_json(stored.*)::text as one
from (select {loaded} from {table} as t) as stored
