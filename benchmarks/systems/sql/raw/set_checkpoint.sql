-- How far a read model is.
insert into raw.checkpoints (name, global_position) values ($1, $2)
on conflict (name) do update set global_position = excluded.global_position
