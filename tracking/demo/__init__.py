"""The demonstration: a drawn clip with its truth, and the whole job on it."""
