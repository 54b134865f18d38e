-- Delete the rows of some keys. $1 keys, a JSON list of objects
delete from {table} as t
using json_populate_recordset(null::{table}, $1) as asked
where ({t_key}) = ({asked_key})
