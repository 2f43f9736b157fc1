"""Exact search in memory: a view of a collection, and similarity bounds that make it fast."""
