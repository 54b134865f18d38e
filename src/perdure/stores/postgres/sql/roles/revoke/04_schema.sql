-- Revoke the right of a role to use the schema.
revoke all on schema {schema} from {role}
