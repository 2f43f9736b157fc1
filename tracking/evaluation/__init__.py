"""Evaluation against a ground truth: of tracks, of names, and of the embeddings behind the names."""

import lazy_loader

# The public names and their modules stand in `__init__.pyi`, once; each module is imported when first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
