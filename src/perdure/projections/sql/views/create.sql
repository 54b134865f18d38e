-- Create a view of the rows of a build.
create view {view} {options} as
select {columns}
from {table}
