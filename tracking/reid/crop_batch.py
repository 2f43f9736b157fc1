"""Turn crops into a network's input: a batch of floats in one reused buffer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.errors import EmbedderError
from tracking.reid.input_spec import Preprocessing

__all__ = ["CropBatch"]


class CropBatch:
    """Converts crops to network inputs, in one float32 NCHW buffer that is reused.

    Resizing on uint8, splitting the channels and looking up each value in a table of 256 floats was the fastest of a
    dozen methods measured. The result equals the arithmetic on floats bit for bit.

    Args:
        preprocessing: Conversion of each crop.
        capacity: Number of crops in the buffer, at least 1.
    """

    def __init__(self, preprocessing: Preprocessing, capacity: int) -> None:
        import cv2

        self.preprocessing = preprocessing
        self.capacity = capacity
        size = (preprocessing.height, preprocessing.width)
        self._buffer = np.empty((capacity, 3, *size), dtype=np.float32)
        self._resized = np.empty((*size, 3), dtype=np.uint8)
        self._planes = [np.empty(size, dtype=np.uint8) for _ in range(3)]
        mean, std = (np.array(values, dtype=np.float32)[:, None] for values in (preprocessing.mean, preprocessing.std))
        pixels = np.arange(256, dtype=np.float32)[None]
        inverse = np.float32(1.0 / preprocessing.scale)
        # Division by 255 and multiplication by 1/255 differ in the last bit. Usual ReID code divides.
        scaled = pixels / inverse if float(inverse).is_integer() else pixels * np.float32(preprocessing.scale)
        table: NDArray[np.float32] = (scaled - mean) / std
        self._source = (2, 1, 0) if preprocessing.color == "rgb" else (0, 1, 2)
        self._tables = [np.ascontiguousarray(row) for row in table]
        fill = np.clip(np.rint(mean[:, 0] / np.float32(preprocessing.scale)), 0, 255)
        self._fill = tuple(float(fill[self._source.index(channel)]) for channel in range(3))
        self._interpolation: int = {
            "nearest": cv2.INTER_NEAREST,
            "linear": cv2.INTER_LINEAR,
            "cubic": cv2.INTER_CUBIC,
            "area": cv2.INTER_AREA,
        }[preprocessing.interpolation]

    def _resize(self, cv2: Any, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = self.preprocessing.height, self.preprocessing.width
        if self.preprocessing.resize == "stretch":
            cv2.resize(image, (width, height), dst=self._resized, interpolation=self._interpolation)
            return self._resized
        factor = min(width / image.shape[1], height / image.shape[0])
        inner_width = min(width, max(1, int(image.shape[1] * factor)))
        inner_height = min(height, max(1, int(image.shape[0] * factor)))
        top, left = (height - inner_height) // 2, (width - inner_width) // 2
        self._resized[:] = self._fill
        self._resized[top : top + inner_height, left : left + inner_width] = cv2.resize(
            image, (inner_width, inner_height), interpolation=self._interpolation
        )
        return self._resized

    def fill(self, crops: Sequence[NDArray[np.uint8]], first: int = 0) -> NDArray[np.float32]:
        """Preprocess crops.

        Args:
            crops: N <= capacity images, each (H, W, 3) uint8 BGR.
            first: Number of the first crop, for messages.

        Returns:
            (N, 3, height, width) float32, a view of the buffer that is valid until the next call.

        Raises:
            EmbedderError: A crop has another form.
        """
        import cv2

        for index, image in enumerate(crops):
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
                raise EmbedderError(
                    f"crop {first + index}: expected a (H, W, 3) uint8 image of at least 1 x 1, "
                    f"found {image.shape} {image.dtype}."
                )
            cv2.split(self._resize(cv2, image), self._planes)
            target = self._buffer[index]
            for channel, source in enumerate(self._source):
                cv2.LUT(self._planes[source], self._tables[channel], dst=target[channel])
        return self._buffer[: len(crops)]

    def pad(self, count: int, size: int) -> NDArray[np.float32]:
        """Return the first `size` inputs with zeros from `count` on, for models with a fixed batch size."""
        self._buffer[count:size] = 0.0
        return self._buffer[:size]
