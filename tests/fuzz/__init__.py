"""Fuzzers of the formats that come from others: valid documents with a few hostile changes.

`pytest tests/fuzz` tries a small, fixed portion. For hours, from the folder `tests`: ``python -m fuzz --cases 10000``.
"""
