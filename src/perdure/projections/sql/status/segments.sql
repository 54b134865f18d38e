-- The segments of all builds, or of the builds of one projection. $1 name or null
select name, version, build, first_hash, last_hash, global_position, status, error,
    case when leased_until > clock_timestamp() then owner end as owner, epoch, updated_at
from {schema}.projection_segments
where $1::text is null or name = $1
order by name, version, build, first_hash
