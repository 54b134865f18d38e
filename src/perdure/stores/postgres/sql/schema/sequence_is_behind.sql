-- Whether positions of stored events would be drawn again, after a restore that left the sequence behind.
-- False for a role without rights on the sequence: PostgreSQL 16 would refuse the query.
select case when has_sequence_privilege('{schema_literal}.global_position', 'usage, select') then
    (select coalesce(max(e.global_position), 0) from {schema}.events e)
        > coalesce(pg_sequence_last_value('{schema_literal}.global_position'), 0)
else false end
