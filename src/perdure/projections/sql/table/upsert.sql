-- Insert or replace rows. $1 rows, a JSON list of objects
insert into {table} ({columns})
select {columns}
from json_populate_recordset(null::{table}, $1)
on conflict ({key}) do update set ({columns}) = row({excluded})
