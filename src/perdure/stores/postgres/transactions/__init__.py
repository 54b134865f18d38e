"""Transactions: those that the store begins, and those of other code that it joins."""
