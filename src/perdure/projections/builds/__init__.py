"""Builds of read models: made, compared, switched and finished while the shown one goes on serving."""
