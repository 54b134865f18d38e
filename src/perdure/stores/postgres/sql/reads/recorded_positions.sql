-- The range of positions (exclusive, inclusive) of the events that were recorded in a range of time, with a margin.
-- $1 recorded_from, $2 recorded_before (null: open)
select
    coalesce({schema}.position_before($1::timestamptz - interval '1 hour'), 0),
    coalesce({schema}.position_before($2::timestamptz + interval '1 hour'), 9223372036854775807)
