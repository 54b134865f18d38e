-- Lease segments that have no valid lease. A segment that its owner is working on is locked, and is left to that owner.
-- An owner that didn't release its segment may have called a reaction for the events of a page after the checkpoint; a
-- page has at most 1000.
-- $1 name, $2 version, $3 build, $4 owner, $5 lease in seconds, $6 how many at most
update {schema}.projection_segments as s
set owner = $4, epoch = s.epoch + 1, leased_until = clock_timestamp() + make_interval(secs => $5),
    repeats_up_to = case
        when s.owner is null then s.repeats_up_to
        else greatest(s.repeats_up_to, (
            select max(global_position)
            from (
                select global_position
                from {schema}.events
                where global_position > s.global_position
                order by global_position
                limit 1000
            ) as page
        ))
    end
from (
    select first_hash
    from {schema}.projection_segments
    where name = $1 and version = $2 and build = $3
        and (leased_until is null or leased_until <= clock_timestamp())
    order by first_hash
    limit $6
    for update skip locked
) as free
where s.name = $1 and s.version = $2 and s.build = $3 and s.first_hash = free.first_hash
