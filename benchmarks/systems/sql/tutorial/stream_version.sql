-- The version of a stream.
select version from streams where stream_id = $1
