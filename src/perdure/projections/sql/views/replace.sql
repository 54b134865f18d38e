-- The same view on another build. Whoever builds on it, and all rights, stay.
create or replace view {view} {options} as
select {columns}
from {table}
