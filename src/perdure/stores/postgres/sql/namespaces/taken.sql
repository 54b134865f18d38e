-- The numbers that the schemas of the database have.
select distinct taken.number
from ({numbers}) taken
where taken.number is not null
