-- What is shown, and what came before it, was built long ago.
update {schema}.projections as p
set stage = 'kept', switch_number = p.is_shown::integer
from {schema}.projections as shown
where shown.name = p.name and shown.is_shown and (p.version, p.build) <= (shown.version, shown.build)
