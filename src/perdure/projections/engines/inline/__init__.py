"""The engine of inline projections, whose rows are written by the appends. See `perdure.projections.inline_store`."""
