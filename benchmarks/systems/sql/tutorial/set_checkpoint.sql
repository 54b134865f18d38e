-- How far a read model is.
insert into checkpoints (name, position) values ($1, $2) on conflict (name) do update set position = excluded.position
