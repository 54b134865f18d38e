-- Take back what a role may call.
revoke all on all functions in schema {schema} from {role}
