-- Rows of a view in the order of an index, and the build that the view shows to this very statement. Values that are
-- asked for come as JSON, so that they become values of the columns' types.
-- $1 name of the projection, $2 values to be found, $3 values after which to continue, both JSON objects, $4 how many
select
    (
        select row_to_json(p)
        from (select version, build, table_schema from {schema}.projections where name = $1 and is_shown) as p
    ) as shown,
    (
        select coalesce(json_agg(found.one order by found.place, found.number), '[]')
        from json_populate_record(null::{view}, $2) as asked
        cross join json_populate_record(null::{view}, $3) as after
        cross join lateral (
            select scan.one, scan.place, scan.number
            from ({places}) as scan
            order by scan.place, scan.number
            limit $4
        ) as found
    ) as rows
