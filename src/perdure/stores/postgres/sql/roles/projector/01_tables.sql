-- Where projections stand.
grant insert, update on {schema}.projections to {role}
