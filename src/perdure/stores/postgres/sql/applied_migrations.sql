-- The numbers of the migrations that were applied.
select number
from {schema}.migrations
order by number
