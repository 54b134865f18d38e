-- Revoke the rights of a role on tables and views.
revoke all on all tables in schema {schema} from {role}
