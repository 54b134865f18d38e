-- The only way into the log: these functions run with the rights of the schema's owner.
grant execute on function {schema}.append_event, {schema}.append_batch, {schema}.append_group, {schema}.publish_position
to {role}
