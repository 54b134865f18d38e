-- Entries are only ever added to the audit log.
grant insert on {schema}.projection_actions to {role}
