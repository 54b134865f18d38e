-- Record how many steps are done of a migration that isn't applied in one transaction.
insert into {schema}.migrations (number, name, steps, applied_at)
values ({number}, '{name}', {steps}, case when {is_complete} then clock_timestamp() end)
on conflict (number) do update set steps = excluded.steps, applied_at = excluded.applied_at
