-- What was done to projections is only ever added to.
grant insert on {schema}.projection_actions to {role}
