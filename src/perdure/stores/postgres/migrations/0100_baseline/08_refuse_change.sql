-- Keeps the log append-only.
create function {schema}.refuse_change() returns trigger
language plpgsql
as $$
begin
    raise exception 'events are never changed or deleted (% on %.%)', tg_op, tg_table_schema, tg_table_name
        using errcode = 'PD001', hint = 'Append an event that corrects or compensates the earlier one.';
end
$$;
