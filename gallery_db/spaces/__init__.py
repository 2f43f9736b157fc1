"""Embedding spaces: what makes the distances of a collection mean the same for every model, camera and gallery."""
