-- Up to where a read model is.
create table if not exists raw.checkpoints (name text primary key, global_position bigint not null)
