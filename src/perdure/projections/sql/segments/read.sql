-- The segments of a build. $1 name, $2 version, $3 build
select first_hash, last_hash, global_position, event_id, status, error, owner, epoch, repeats_up_to,
    coalesce(leased_until > clock_timestamp(), false) as is_leased,
    case when held_until > clock_timestamp() then hold_at end as hold_at
from {schema}.projection_segments
where name = $1 and version = $2 and build = $3
order by first_hash
