-- A page of the log with null for each large value, so that it takes at most a few megabytes. A compressed value counts as
-- large, because its size is known only after decompression. The inner statement reads the page.
select stream_id, stream_version, global_position, event_id, event_type, event_version,
    case
        when pg_column_size(event_data) <= {large} and pg_column_compression(event_data) is null then event_data
    end as event_data,
    case when pg_column_size(metadata) <= {large} and pg_column_compression(metadata) is null then metadata end as metadata,
    seconds
from (
{page}
) page
order by global_position
