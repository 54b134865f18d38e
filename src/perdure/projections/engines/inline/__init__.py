"""Projections that appends keep themselves, in their own transactions. See `perdure.projections.inline_store`."""
