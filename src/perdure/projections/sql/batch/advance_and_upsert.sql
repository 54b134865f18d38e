-- Move the checkpoint of one segment, and insert or replace the rows of one table, in one statement: a batch that does no
-- more takes one round trip instead of four. No row is written unless the checkpoint has moved, which another runner may
-- have prevented. With several segments, some could move and others not, so those take a transaction. $1 to $11 as in the
-- statement that moves checkpoints, $12 rows, a JSON list of objects
with moved as (
{advance}
),
written as (
    insert into {table} ({columns})
    select {columns}
    from json_populate_recordset(null::{table}, $12)
    where exists (select from moved)
    on conflict ({key}) do update set ({columns}) = row({excluded})
)
select from moved
