"""Trackers that know who is on the video.

``track_video`` does the main job; `TrackingRun` and `RunOptions` are the same in steps. `TrackEnroller` names and
enrols for whoever tracks and embeds by themselves. Importing this package is cheap: torch, BoxMOT, ONNX Runtime and
OpenCV are loaded where they are used.
"""

import lazy_loader

# The public names and their modules stand in `__init__.pyi`, once; each module is imported when first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# gtrack-reid: `gallery_db.distribution` knows the package by this line.
