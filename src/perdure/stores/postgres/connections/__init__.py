"""Connections: hosts, the pool, and the database that hands them out."""
