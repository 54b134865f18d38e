-- Be the user again who connected; RESET ALL leaves that out.
reset role
