"""A persistent gallery of ReID embeddings.

A `Gallery` is a folder: a SQLite record with the whole content, and a Chroma index derived from it. Trackers search a
`GalleryView` of it in memory; users call `Gallery.query`.
"""

import lazy_loader

# The public names and their modules stand in `__init__.pyi`, once; each module is imported when first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# gtrack-reid: `gallery_db.distribution` knows the package by this line.
