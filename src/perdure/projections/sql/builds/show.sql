-- Record which build of a projection the views show. $1 name, $2 version, $3 build
update {schema}.projections as p
set is_shown = is_target,
    stage = case when is_target then 'retained' else p.stage end,
    switch_number = case when is_target then last + 1 else p.switch_number end
from (
    select version, build, version = $2 and build = $3 as is_target, max(switch_number) over () as last
    from {schema}.projections
    where name = $1
) as counted
where p.name = $1 and p.version = counted.version and p.build = counted.build
