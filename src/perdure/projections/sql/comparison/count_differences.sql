-- The number of rows that are in only one of two tables without a known key.
select count(*)
from (
    (select (t.*)::text from {table} as t except all select (t.*)::text from {other} as t)
    union all
    (select (t.*)::text from {other} as t except all select (t.*)::text from {table} as t)
) as differing
