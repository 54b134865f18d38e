"""Runs projections. See `perdure.projections.service`."""
