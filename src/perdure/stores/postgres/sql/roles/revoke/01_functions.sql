-- Revoke the rights of a role on functions.
revoke all on all functions in schema {schema} from {role}
