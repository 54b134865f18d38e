"""What runs projections. See `perdure.projections.service`."""
