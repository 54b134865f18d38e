-- The beginning of a page of the log whose events are large: at least one event, and no more once so many bytes
-- are reached. The inner statement reads the page.
select stream_id, stream_version, global_position, event_id, event_type, event_version, event_data, metadata,
    seconds
from (
    select *,
        sum(octet_length(event_data::text) + octet_length(metadata::text)) over (
            order by global_position rows between unbounded preceding and 1 preceding
        ) as bytes_before
    from (
{page}
    ) whole
) page
where bytes_before is null or bytes_before < {page_bytes}
order by global_position
