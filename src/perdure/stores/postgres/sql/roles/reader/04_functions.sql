-- What finds out up to where the log can be read.
grant execute on function
    {schema}.store_namespace, {schema}.safe_position, {schema}.refuse_standby, {schema}.is_safe, {schema}.is_known,
    {schema}.position_before
to {role}
