-- Wait for open transactions that have inserted into the log, and let none begin: they hold locks of the old number.
lock table {schema}.events in access exclusive mode
