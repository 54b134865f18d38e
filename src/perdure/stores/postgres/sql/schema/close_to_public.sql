-- Functions may be called by everybody unless that is taken back.
revoke all on all functions in schema {schema} from public
