-- The migrations that were applied, or are under way.
select number, name, steps, applied_at is not null as is_complete
from {schema}.migrations
order by number
