"""Transactions: those that the store begins, and those of the caller that it joins."""
