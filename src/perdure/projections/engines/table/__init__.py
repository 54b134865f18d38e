"""The engine of `TableProjection`: it folds events into rows, and writes a batch with one statement per table."""
