"""The engine of reactions and relays: calls what is outside, without a transaction, then moves the checkpoint."""
