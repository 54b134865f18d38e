"""A process at work: the runners of its projections, their leases, feeds and reports."""
