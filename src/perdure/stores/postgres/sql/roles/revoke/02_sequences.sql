-- Revoke the rights of a role on the sequence.
revoke all on all sequences in schema {schema} from {role}
