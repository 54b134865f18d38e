-- What people query: the rows of the version that is shown.
create view {view} as
select *
from {table}
