-- The number of rows of a table, and a checksum that doesn't depend on their order.
select count(*) as count, coalesce(sum(hashtextextended(({row})::text, 0)::numeric), 0)::text as checksum
from {table} as t
