-- Up to where a read model is.
create table if not exists checkpoints (name text primary key, position bigint not null)
