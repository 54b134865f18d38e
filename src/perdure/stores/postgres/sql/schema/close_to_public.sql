-- Revoke the right of all roles to call functions, which PostgreSQL grants by default.
revoke all on all functions in schema {schema} from public
