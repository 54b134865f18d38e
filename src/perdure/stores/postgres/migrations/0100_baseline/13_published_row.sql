-- Nothing is published yet.
insert into {schema}.published default values;
