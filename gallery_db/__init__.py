"""A persistent gallery of ReID embeddings."""
