-- Publish the safe position for standbys, if there are any. See publish_position().
select global_position, last_drawn from {schema}.publish_position()
