"""Base of all ReID networks: batches, unit length, and checks of the output."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from gallery_db.model import EmbeddingModel
from tracking.errors import EmbedderError, WeightsError
from tracking.reid.crop_batch import CropBatch
from tracking.reid.input_spec import MAX_INPUT_SIDE, Preprocessing
from tracking.reid.model_description import weights_identity

__all__ = ["CPU_BATCH", "GPU_BATCH", "NetworkEmbedder", "unit_rows"]

# Measured with OSNet x0.25 on ONNX Runtime: with one thread, more than 8 crops in a batch are not faster; with two,
# more than 16 are not, and 32 no longer fit into the CPU's caches. A frame rarely shows more people.
CPU_BATCH = 8
GPU_BATCH = 64
_MAX_FIXED_PIXELS = CPU_BATCH * MAX_INPUT_SIDE**2
"""Pixels of an input with a fixed batch at most: 400 MB of them. A stranger's file can state any number."""


def unit_rows(vectors: NDArray[np.float32], first: int = 0) -> NDArray[np.float32]:
    """Scale rows to unit L2 norm.

    Args:
        vectors: (N, D) float32.
        first: Number of the first row's crop, for messages.

    Raises:
        EmbedderError: A row is zero, or not finite; names its crop.
    """
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    bad = np.flatnonzero(~np.isfinite(norms) | (norms < 1e-12))
    if bad.size:
        what = "a zero vector" if np.isfinite(norms[bad[0]]) else "values that are not finite"
        raise EmbedderError(
            f"crop {first + int(bad[0])}: the model returned {what} ({bad.size} of {len(vectors)} crops).",
            hint="The weights are damaged, or do not work with half precision or this preprocessing.",
        )
    result: NDArray[np.float32] = (vectors / norms[:, None]).astype(np.float32)
    return result


class NetworkEmbedder(ABC):
    """A ReID network, an implementation of `gallery_db.model.Embedder`. Subclasses for the runtimes implement `_infer`.

    Calls from several threads run one after another.

    Args:
        weights: The weights file as the user gave it. Its name and hash are the model's identity; for an export, the
            hash of its source.
        preprocessing: Conversion of a crop to the network's input.
        device: Resolved device: ``"cpu"``, ``"cuda:0"``, ``"mps"``.
        runtime: ``"onnx"``, ``"torch"``, ``"torchscript"``, ``"openvino"``, ``"tensorrt"``, ``"tflite"``.
        half: Whether the network computes in FP16.
        batch_size: Maximum number of crops per inference; None for the device's default.
        fixed_batch: The model's fixed batch size; None if it accepts any.
        notices: Sentences for the user.

    Attributes:
        notices: Sentences for the user.
    """

    def __init__(
        self,
        weights: Path,
        preprocessing: Preprocessing,
        *,
        device: str,
        runtime: str,
        half: bool = False,
        batch_size: int | None = None,
        fixed_batch: int | None = None,
        notices: Sequence[str] = (),
    ) -> None:
        self._name = weights.name
        self._device = device
        self._runtime = runtime
        self._half = half
        self._preprocessing = preprocessing
        self._fixed_batch = fixed_batch
        if (fixed_batch or 0) * preprocessing.height * preprocessing.width > _MAX_FIXED_PIXELS:
            raise WeightsError(
                f"{weights}: its input is fixed to {fixed_batch} crops of "
                f"{preprocessing.height} x {preprocessing.width} pixels; the limit is {_MAX_FIXED_PIXELS:,} pixels.",
                hint="Export the model for a smaller batch.",
            )
        self._batch_size = fixed_batch or batch_size or (CPU_BATCH if device == "cpu" else GPU_BATCH)
        self._batch = CropBatch(preprocessing, self._batch_size)
        self._lock = threading.Lock()
        self._closed = False
        self.notices = list(notices)
        # One real inference: it gives the dimension, warms up, and shows whether the model can run.
        blank = np.full((preprocessing.height, preprocessing.width, 3), 127, dtype=np.uint8)
        dimension = self._run([blank], 0).shape[1]
        self._model = EmbeddingModel(
            name=weights.name,
            sha256=weights_identity(weights),
            dimension=dimension,
            preprocessing=str(preprocessing),
            path=str(weights.resolve()),
        )

    @property
    def model(self) -> EmbeddingModel:
        """The identity under which the vectors are stored."""
        return self._model

    @property
    def device(self) -> str:
        """The device of the network: ``"cpu"``, ``"cuda:N"`` or ``"mps"``."""
        return self._device

    @property
    def runtime(self) -> str:
        """The runtime: ``"onnx"``, ``"torch"``, ``"torchscript"``, ``"openvino"``, ``"tensorrt"``, ``"tflite"``."""
        return self._runtime

    @property
    def half(self) -> bool:
        """Whether the network computes in FP16."""
        return self._half

    @property
    def batch_size(self) -> int:
        """Maximum number of crops per inference."""
        return self._batch_size

    @property
    def preprocessing(self) -> Preprocessing:
        """Conversion of a crop to the network's input."""
        return self._preprocessing

    @abstractmethod
    def _infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network on (N, 3, H, W) contiguous float32. Return its output (N, ...) unchanged."""

    @abstractmethod
    def _release(self) -> None:
        """Release the runtime's resources."""

    def _run(self, crops: Sequence[NDArray[np.uint8]], first: int) -> NDArray[np.float32]:
        """Return the network's output (N, D) for one batch of crops, not scaled."""
        batch = self._batch.fill(crops, first)
        if self._fixed_batch is not None and len(crops) < self._fixed_batch:
            batch = self._batch.pad(len(crops), self._fixed_batch)
        output = np.asarray(self._infer(batch))
        if output.ndim != 2 or output.shape[0] != len(batch) or output.shape[1] == 0:
            raise EmbedderError(
                f"{self._name}: expected the model to return ({len(batch)}, D) for {len(batch)} crops, "
                f"found {output.shape}.",
                hint="A ReID model returns one embedding per crop; this may be a detector, or return a feature map.",
            )
        return output[: len(crops)].astype(np.float32, copy=False)

    def embed(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed image crops.

        Args:
            crops: N images, each (H, W, 3) uint8 in BGR order, at least 1 x 1; views are fine.

        Returns:
            (N, D) float32, each row of unit L2 norm; (0, D) for no crops.

        Raises:
            EmbedderError: A crop has another form, an output is zero or not finite, or the embedder is closed.
        """
        result = np.empty((len(crops), self._model.dimension), dtype=np.float32)
        if self._closed:
            raise EmbedderError(f"{self._model.name}: this embedder is closed.")
        # Nine crops are faster as 5 and 4 than as 8 and 1, unless the batch size is fixed.
        parts = -(-len(crops) // self._batch_size)
        step = self._fixed_batch or (-(-len(crops) // parts) if parts else 1)
        with self._lock:
            for start in range(0, len(crops), step):
                part = crops[start : start + step]
                result[start : start + len(part)] = unit_rows(self._run(part, start), start)
        return result

    def close(self) -> None:
        """Release the network. It may be closed more than once."""
        if not self._closed:
            self._closed = True
            self._release()

    def __enter__(self) -> NetworkEmbedder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
