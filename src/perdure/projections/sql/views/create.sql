-- What people query: the rows of the build that is shown.
create view {view} {options} as
select {columns}
from {table}
