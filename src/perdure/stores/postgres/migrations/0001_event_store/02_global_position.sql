-- Draws the positions of the log. CACHE must stay 1: a cached value would lie below what safe_position() promises.
create sequence {schema}.global_position as bigint cache 1 no cycle;
