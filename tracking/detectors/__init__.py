"""Detectors: they find people and other objects in frames, so that a video needs no file of detections.

`load_detector` loads one from a file or a name. Any object with the methods of `Detector` is a detector. Importing this
package is fast: OpenCV, ONNX Runtime and Ultralytics are imported when they are used.
"""

import lazy_loader

# The public names and their modules stand in `__init__.pyi`, once; each module is imported when first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
