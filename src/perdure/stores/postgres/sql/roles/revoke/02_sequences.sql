-- Take back what a role may do with the sequence.
revoke all on all sequences in schema {schema} from {role}
