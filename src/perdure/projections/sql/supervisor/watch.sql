-- The builds of some versions of projections, with the number of positions that each is behind. $1 names, $2 versions
select p.name, p.version, p.build, p.stage, p.switches_automatically, p.differences is not null as differs,
    shown.version as shown_version, shown.build as shown_build, log.end_position - (
        select coalesce(min(global_position), 0)
        from {schema}.projection_segments as s
        where s.name = p.name and s.version = p.version and s.build = p.build
    ) as lag
from {schema}.projections as p
inner join unnest($1::text[], $2::integer[]) as asked (name, version) on asked.name = p.name and asked.version = p.version
cross join (select coalesce(max(global_position), 0) as end_position from {schema}.events) as log
left join {schema}.projections as shown on shown.name = p.name and shown.is_shown
order by p.name, p.version, p.build
