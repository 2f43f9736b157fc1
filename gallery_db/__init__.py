"""A persistent gallery of ReID embeddings.

A `Gallery` is a folder: a SQLite record with the whole content, and a Chroma index derived from it. Trackers search a
`GalleryView` of it in memory; users call `Gallery.query`. Importing this package sets the environment variables that
switch off the usage reports of libraries (`gallery_db.privacy`).
"""

import lazy_loader

from gallery_db.privacy import set_defaults as _set_defaults

# Before any library is imported that reads these variables.
_set_defaults()

# The public names and their modules stand in `__init__.pyi`, once; each module is imported when first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# gtrack-reid: `gallery_db.distribution` knows the package by this line.
