-- The last position before the events that were recorded at a time or later; null for null.
-- It is found by bisection on the primary key, because an index on the time would slow down every append. Times follow
-- positions unless the clock is set back: callers must leave a margin for that, and compare the times themselves.
create function {schema}.position_before(p_time timestamptz) returns bigint
language plpgsql stable strict
as $$
declare
    -- Everything up to `low` was recorded before the time, and nothing beyond `high`.
    low bigint := 0;
    high bigint;
    middle bigint;
    found record;
begin
    select max(e.global_position) into high from {schema}.events e;
    while low < coalesce(high, 0) loop
        middle := low + (high - low) / 2;
        select e.global_position, e.recorded_at into found
        from {schema}.events e
        where e.global_position > middle order by e.global_position limit 1;
        if found.recorded_at < p_time then
            low := found.global_position;
        else
            high := middle;
        end if;
    end loop;
    return low;
end
$$;
