-- Pause leased segments at their last known position, and write an entry of the audit log.
-- $1 name, $2 version, $3 build, $4 owner, $5 first hashes, $6 their epochs, $7 global_position, $8 error, $9 reason,
-- $10 detail
with paused as (
    update {schema}.projection_segments as s
    set status = 'paused', error = $8, updated_at = clock_timestamp()
    from unnest($5::integer[], $6::bigint[]) as asked (first_hash, epoch)
    where s.name = $1 and s.version = $2 and s.build = $3 and s.owner = $4 and s.first_hash = asked.first_hash
        and s.epoch = asked.epoch and s.global_position = $7 and s.status = 'running'
    returning s.first_hash
)
insert into {schema}.projection_actions (name, version, build, action, actor, reason, detail)
select $1, $2, $3, 'paused', $4, $9, $10
where exists (select from paused)
