"""ReID networks that run through BoxMOT: TensorRT engines and TFLite models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gallery_db.regular_files import open_regular
from tracking.boxmot_adapter import BoxmotBackend, missing_backend_requirement
from tracking.errors import EmbedderError, WeightsError
from tracking.reid.base import NetworkEmbedder
from tracking.reid.devices import Device, parse_device, torch_device
from tracking.reid.model_description import resolve_preprocessing

__all__ = ["BoxmotEmbedder", "check_tflite"]

_RUNTIMES = {".engine": "tensorrt", ".tflite": "tflite"}
_MAX_TFLITE_ROOT = 0x100


def check_tflite(path: Path) -> None:
    """Check that a file is TFLite, so that another kind of file gets a clear message.

    Raises:
        WeightsError: It is another kind of file, or cannot be read.
    """
    try:
        with open_regular(path) as stream:
            head = stream.read(8)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}.") from error
    root = int.from_bytes(head[:4], "little")
    if head[4:8] != b"TFL3" or root % 4 or not 0 < root < _MAX_TFLITE_ROOT:
        raise WeightsError(f"{path}: expected a TFLite model, found another kind of file.")


class BoxmotEmbedder(NetworkEmbedder):
    """A TensorRT ``.engine`` on CUDA, or a ``.tflite`` model on the CPU, run through BoxMOT.

    TensorRT's format can contain code: `load_embedder` first asks whether an engine is trusted.

    Args:
        weights: The file.
        device: ``"auto"``, a CUDA or TensorRT device for an engine, or ``"cpu"`` for TFLite.
        half: Ignored with a notice if the model computes in FP32: its precision is in the file.
        batch_size: Maximum number of crops per inference.

    Raises:
        EmbedderError: The runtime is not installed, or there is no such device.
        WeightsError: The file cannot be loaded.
    """

    def __init__(
        self, weights: Path, *, device: str = "auto", half: bool = False, batch_size: int | None = None
    ) -> None:
        runtime = _RUNTIMES[weights.suffix.lower()]
        missing = missing_backend_requirement(runtime)
        if missing is not None:
            raise EmbedderError(
                f"{weights}: {missing} is needed for {weights.suffix.lower()} models and is not installed.",
                hint=f"Run: pip install '{missing}'; or use an .onnx export of the model.",
            )
        requested = parse_device(device)
        notices = []
        if runtime == "tflite":
            check_tflite(weights)
            if requested.kind not in ("auto", "cpu"):
                raise EmbedderError(f"device {requested}: TFLite models run on the CPU.", hint="Use device cpu.")
            resolved = Device("cpu")
            if half:
                notices.append(f"half precision is ignored for {weights.name} on the CPU.")
                half = False
        else:
            on_gpu = requested.kind in ("auto", "tensorrt")
            resolved = torch_device(Device("cuda", requested.index) if on_gpu else requested)
            if resolved.kind != "cuda":
                raise EmbedderError(f"device {resolved}: TensorRT engines run on CUDA.", hint="Use device cuda.")
        self._backend = BoxmotBackend(weights, str(resolved), half)
        if half and not self._backend.half:
            notices.append(f"half precision is ignored for {weights.name}: its precision is in the file.")
        super().__init__(
            weights,
            resolve_preprocessing(weights, self._backend.input_size),
            device=str(resolved),
            runtime=runtime,
            half=self._backend.half,
            batch_size=batch_size,
            notices=notices,
        )

    def _infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._backend.infer(batch)

    def _release(self) -> None:
        self._backend.close()
