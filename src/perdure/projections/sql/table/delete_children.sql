-- Delete the child rows of some parents. $1 the parents' keys, a JSON list of objects
delete from {table} as t
using json_populate_recordset(null::{table}, $1) as asked
where ({t_parent_key}) = ({asked_parent_key})
