-- Take back what a role may do with tables and views.
revoke all on all tables in schema {schema} from {role}
