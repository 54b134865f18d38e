-- Record that a migration was applied.
insert into {schema}.migrations (number, name, steps) values ({number}, '{name}', {steps})
