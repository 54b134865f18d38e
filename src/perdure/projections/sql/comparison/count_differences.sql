-- How many rows are in only one of two tables whose keys aren't known.
select count(*)
from (
    (select t::text from {table} as t except all select t::text from {other} as t)
    union all
    (select t::text from {other} as t except all select t::text from {table} as t)
) as differing
