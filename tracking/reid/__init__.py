"""ReID embedders: from image crops to unit vectors, whatever the network's format.

Nothing heavy is imported here: torch, ONNX Runtime, OpenCV and BoxMOT are loaded when an embedder is.
"""

import lazy_loader

# The public names and their modules stand in `__init__.pyi`, once; each module is imported when first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
