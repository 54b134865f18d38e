-- Move the checkpoint of leased segments from their last known position, but not beyond a hold. The new event must be
-- in this log: it may have been read from a server that had more events and has failed since. Returns a row for each
-- moved segment, with the transaction's id; if an id is given, the transaction must have it. If this process stalls in
-- the transaction, the server ends the transaction when the lease expires. $1 name, $2 version, $3 build, $4 owner, $5
-- first hashes, $6 their epochs, $7 current global_position, $8 new global_position, $9 event_id, $10 lease in seconds,
-- $11 transaction id or null
update {schema}.projection_segments as s
set global_position = $8, event_id = $9, updated_at = clock_timestamp(),
    leased_until = clock_timestamp() + make_interval(secs => $10::float8)
from unnest($5::integer[], $6::bigint[]) as asked (first_hash, epoch)
where s.name = $1 and s.version = $2 and s.build = $3 and s.owner = $4 and s.first_hash = asked.first_hash
    and s.epoch = asked.epoch and s.global_position = $7 and s.status = 'running'
    and (s.held_until is null or s.held_until < clock_timestamp() or $8 <= s.hold_at)
    and ($9::uuid is null or exists (select from {schema}.events where global_position = $8 and event_id = $9))
    and ($11::text is null or pg_current_xact_id_if_assigned()::text = $11)
returning pg_current_xact_id()::text,
    set_config('idle_in_transaction_session_timeout', (1000 * $10::float8)::integer::text, true)
