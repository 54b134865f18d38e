"""The engines: how each kind of projection processes a batch."""
