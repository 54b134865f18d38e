-- The rows that differ between two tables of the same shape, as JSON, joined by key.
select row_to_json(one.*) as one, row_to_json(other.*) as other
from (select {loaded} from {table} as t) as one
full join (select {loaded} from {other} as t) as other using ({key})
where (one.*)::text is distinct from (other.*)::text
