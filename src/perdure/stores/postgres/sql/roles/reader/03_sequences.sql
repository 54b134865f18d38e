-- The fence asks the sequence for the last position that was drawn.
grant select on sequence {schema}.global_position to {role}
