-- Up to which version each stream is in the rows of a build that is kept inline. Whoever folds a stream locks its line.
create table {schema}.inline_streams (
    name text collate "C" not null,
    version integer not null,
    build integer not null,
    stream_id text collate "C" not null,
    stream_version bigint not null default 0,
    primary key (name, version, build, stream_id),
    foreign key (name, version, build) references {schema}.projections on delete cascade
) with (fillfactor = 50)
