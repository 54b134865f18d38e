-- Delete the record that rights were granted to a role.
delete from {schema}.roles where role = '{role_literal}'
