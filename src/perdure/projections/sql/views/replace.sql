-- Make a view show another build. Dependent objects and all rights stay.
create or replace view {view} {options} as
select {columns}
from {table}
