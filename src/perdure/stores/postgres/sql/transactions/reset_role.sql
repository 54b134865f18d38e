-- Return to the user of the connection, which RESET ALL doesn't do.
reset role
