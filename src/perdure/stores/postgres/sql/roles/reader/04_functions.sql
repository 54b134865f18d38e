-- The functions that determine up to where the log can be read.
grant execute on function
    {schema}.store_namespace, {schema}.safe_position, {schema}.check_position, {schema}.check_event_at,
    {schema}.position_before
to {role}
