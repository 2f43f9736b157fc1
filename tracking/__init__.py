"""Track people on a video and name them from a gallery.

`track_video` does a whole run in one call; `RunOptions` and `TrackingRun` are the same in steps. `TrackEnroller` names
and enrols the tracks of pipelines that bring their own tracker and embeddings. Importing this package is cheap: torch,
BoxMOT, ONNX Runtime and OpenCV are loaded where they are used.
"""

import lazy_loader

# The public names and their modules stand in `__init__.pyi`, once; each module is imported when first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# gtrack-reid: `gallery_db.distribution` knows the package by this line.
