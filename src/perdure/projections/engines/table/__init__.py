"""The engine of `TableProjection`: folds events into rows, and writes a batch in one statement per table."""
