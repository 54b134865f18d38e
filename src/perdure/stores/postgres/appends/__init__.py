"""The ways an append reaches the database."""
