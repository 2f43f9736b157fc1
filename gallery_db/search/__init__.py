"""Exact search in memory: a view of a collection, and bounds that keep it fast."""
