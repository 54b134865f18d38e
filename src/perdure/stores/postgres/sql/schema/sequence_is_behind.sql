-- Whether positions would be drawn again that events have already: after a restore that left the sequence behind.
-- Who may not look at the sequence is told nothing: PostgreSQL 16 would refuse the question.
select case when has_sequence_privilege('{schema_literal}.global_position', 'usage, select') then
    (select coalesce(max(e.global_position), 0) from {schema}.events e)
        > coalesce(pg_sequence_last_value('{schema_literal}.global_position'), 0)
else false end
