"""Temporal association by motion alone, in arrays: ByteTrack and BoT-SORT without embeddings."""
