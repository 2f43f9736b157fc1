"""Entries in and out of a gallery: image folders, Parquet, another embedding model."""
