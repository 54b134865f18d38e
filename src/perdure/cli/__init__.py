"""The command line, ``perdure``. An edge: nothing imports it. Its libraries come with the extra ``cli``."""
