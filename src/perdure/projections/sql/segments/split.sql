-- Split a leased segment in two; both halves keep its checkpoint and owner. $1 name, $2 version, $3 build, $4 owner,
-- $5 epoch, $6 first_hash, $7 last_hash, $8 last hash of the first half
with halved as (
    update {schema}.projection_segments
    set last_hash = $8
    where name = $1 and version = $2 and build = $3 and owner = $4 and epoch = $5
        and first_hash = $6 and last_hash = $7
    returning *
)
insert into {schema}.projection_segments (
    name, version, build, first_hash, last_hash, global_position, event_id, status, error, owner, leased_until, epoch,
    hold_at, held_until, repeats_up_to
)
select name, version, build, $8 + 1, $7, global_position, event_id, status, error, owner, leased_until, epoch,
    hold_at, held_until, repeats_up_to
from halved
