"""The engine of reactions: it calls handlers, or a broker, outside any transaction, and then moves the checkpoint."""
