"""Decode video files on an NVIDIA GPU (NVDEC), through PyAV.

Written against PyAV's documentation and sources. ``tests/benchmarks/gpu.py`` compares it with the CPU where there is a
GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.errors import VideoError, error_line

__all__ = ["nvdec_frames"]

_HINT = (
    "Read it on the CPU, as gtrack does by itself. NVDEC needs a GPU of NVIDIA with its driver, and a codec it knows."
)


def nvdec_frames(path: Path, device: int = 0) -> Iterator[NDArray[np.uint8]]:
    """Decode the frames of a video file on a GPU, and yield each as (H, W, 3) uint8 BGR in the CPU's memory.

    Args:
        path: The video.
        device: Number of the CUDA device.

    Raises:
        VideoError: PyAV is not installed or was built without CUDA, there is no such GPU, or it cannot decode the file.
    """
    if find_spec("av") is None:
        raise VideoError(f"video {path}: NVDEC needs PyAV, which is not installed.", hint="Run: pip install av")
    import av
    from av.codec.hwaccel import HWAccel, hwdevices_available

    known = hwdevices_available()
    if "cuda" not in known:
        raise VideoError(
            f"video {path}: this PyAV was built without CUDA (it has {', '.join(known) or 'no devices'}).",
            hint="Install a wheel of the package av that has it: pip install --force-reinstall --only-binary av av",
        )
    if not path.is_file():
        raise VideoError(f"video {path} does not exist; expected a video file.")
    try:
        with av.open(str(path), hwaccel=HWAccel("cuda", device=device, allow_software_fallback=False)) as container:
            for frame in container.decode(video=0):
                image: Any = frame.to_ndarray(format="bgr24")
                yield image
    except (av.error.FFmpegError, RuntimeError, NotImplementedError) as error:
        raise VideoError(f"video {path}: NVDEC cannot decode it: {error_line(error)}.", hint=_HINT) from error
