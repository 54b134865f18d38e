-- The same for those that have drawn or looked at a position, of which readers hold no lock on the log. It changes nothing,
-- but conflicts with the lock that they hold on the sequence until they end; `lock table` takes no sequence.
alter sequence {schema}.global_position cache 1
