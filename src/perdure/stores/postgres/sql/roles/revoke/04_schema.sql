-- Take back that a role may use the schema.
revoke all on schema {schema} from {role}
