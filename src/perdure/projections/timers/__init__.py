"""The timers of processes: what fires them, and what operators do with them."""
