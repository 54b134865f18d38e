-- Wait also for transactions that have drawn or read a position: readers of the sequence hold no lock on the log. It changes
-- nothing, but conflicts with their lock on the sequence. `lock table` can't lock a sequence.
alter sequence {schema}.global_position cache 1
