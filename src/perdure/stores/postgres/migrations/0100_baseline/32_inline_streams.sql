-- For each stream, the version up to which the rows of an inline build contain it. Folding a stream takes a lock on its row.
create table {schema}.inline_streams (
    name text collate "C" not null,
    version integer not null,
    build integer not null,
    stream_id text collate "C" not null,
    stream_version bigint not null default 0,
    primary key (name, version, build, stream_id),
    foreign key (name, version, build) references {schema}.projections on delete cascade
) with (fillfactor = 50);
