"""Base of all ReID networks: batches, unit length, and checks of the output."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise
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

# Measured with OSNet x0.25 on ONNX Runtime with one thread: a crop costs the same in batches of 1 to 8, and more from
# 12 on, which no longer fit into the core's caches.
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

    Calls from several threads run one after another. The crops of one call are shared out among `workers` threads.

    Args:
        weights: The weights file as the user gave it. Its name and hash are the model's identity; for an export, the
            hash of its source.
        preprocessing: Conversion of a crop to the network's input.
        device: Resolved device: ``"cpu"``, ``"cuda:0"``, ``"mps"``.
        runtime: ``"onnx"``, ``"torch"``, ``"torchscript"``, ``"openvino"``, ``"tensorrt"``, ``"tflite"``.
        half: Whether the network computes in FP16.
        batch_size: Maximum number of crops per inference; None for the device's default.
        fixed_batch: The model's fixed batch size; None if it accepts any.
        workers: Number of threads in which `_infer` may run at the same time, each with a batch of its own.
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
        workers: int = 1,
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
        self._batches = [CropBatch(preprocessing, self._batch_size)]
        self._workers = workers
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._closed = False
        self.notices = list(notices)
        # One real inference: it gives the dimension, warms up, and shows whether the model can run.
        blank = np.full((preprocessing.height, preprocessing.width, 3), 127, dtype=np.uint8)
        dimension = self._run([blank], 0, self._batches[0]).shape[1]
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

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) in pixels, to which crops are scaled."""
        return self._preprocessing.height, self._preprocessing.width

    @abstractmethod
    def _infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network on (N, 3, H, W) contiguous float32. Return its output (N, ...) unchanged."""

    @abstractmethod
    def _release(self) -> None:
        """Release the runtime's resources."""

    def _run(self, crops: Sequence[NDArray[np.uint8]], first: int, buffer: CropBatch) -> NDArray[np.float32]:
        """Return the network's output (N, D) for one batch of crops, not scaled."""
        batch = buffer.fill(crops, first)
        if self._fixed_batch is not None and len(crops) < self._fixed_batch:
            batch = buffer.pad(len(crops), self._fixed_batch)
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
        parts = self._parts(len(crops))
        with self._lock:
            shares = [parts[number :: self._workers] for number in range(min(self._workers, len(parts)))]
            while len(self._batches) < len(shares):
                self._batches.append(CropBatch(self._preprocessing, self._batch_size))
            others = [
                self._threads().submit(self._embed_parts, crops, share, buffer, result)
                for share, buffer in zip(shares[1:], self._batches[1:], strict=False)
            ]
            try:
                self._embed_parts(crops, shares[0] if shares else (), self._batches[0], result)
            finally:
                # Also after an error or Ctrl-C here: the next call uses their buffers.
                wait(others)
            for other in others:
                other.result()
        return result

    def _threads(self) -> ThreadPoolExecutor:
        """Return the threads beside the caller's own, started at their first use."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._workers - 1, thread_name_prefix="gtrack-embed")
        return self._pool

    def _parts(self, count: int) -> list[tuple[int, int]]:
        """Return the first crop of each batch and the one after its last: as many batches of one size as workers."""
        if self._fixed_batch is not None:
            return [(first, min(first + self._fixed_batch, count)) for first in range(0, count, self._fixed_batch)]
        batches = -(-count // self._batch_size)
        batches = min(count, -(-batches // self._workers) * self._workers)
        bounds = [count * number // batches for number in range(batches + 1)] if batches else []
        return list(pairwise(bounds))

    def _embed_parts(
        self,
        crops: Sequence[NDArray[np.uint8]],
        parts: Sequence[tuple[int, int]],
        buffer: CropBatch,
        result: NDArray[np.float32],
    ) -> None:
        """Embed some of the crops batch by batch, into their rows of the result."""
        for first, stop in parts:
            result[first:stop] = unit_rows(self._run(crops[first:stop], first, buffer), first)

    def close(self) -> None:
        """Release the network. It may be closed more than once."""
        if not self._closed:
            self._closed = True
            if self._pool is not None:
                self._pool.shutdown()
            self._release()

    def __enter__(self) -> NetworkEmbedder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
