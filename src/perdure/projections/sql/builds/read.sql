-- All builds of a projection, the newest first. $1 name
select version, build, table_schema, shape, is_shown, stage, switches_automatically, switch_number, differences, mode,
    kind, start_position, start_event_id
from {schema}.projections
where name = $1
order by version desc, build desc
