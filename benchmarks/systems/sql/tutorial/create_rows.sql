-- A read model: what became of each title.
create table {table} (content_id text collate "C" primary key, views bigint not null, seconds bigint not null)
