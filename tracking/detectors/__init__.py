"""Detectors: what finds people (and whatever else) in a frame, so that a bare video is enough.

`load_detector` makes one of a file or a name; anything that has the methods of `Detector` is one. Importing
this package is cheap: OpenCV, ONNX Runtime and Ultralytics are loaded where they are used.
"""

import lazy_loader

# The public names and their modules stand in `__init__.pyi`, once; each module is imported when first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
