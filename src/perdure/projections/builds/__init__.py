"""Builds of read models: set up, compared, completed and switched while the shown build keeps serving queries."""
