"""ReID networks in the formats that gtrack leaves to BoxMOT: TensorRT engines and TFLite."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tracking.boxmot_adapter import BoxmotBackend, missing_backend_requirement
from tracking.errors import EmbedderError, WeightsError
from tracking.reid.base import NetworkEmbedder
from tracking.reid.devices import Device, parse_device, torch_device
from tracking.reid.model_description import resolve_preprocessing

__all__ = ["BoxmotEmbedder", "check_tflite"]

_RUNTIMES = {".engine": "tensorrt", ".tflite": "tflite"}
_MAX_TFLITE_ROOT = 0x100


def check_tflite(path: Path) -> None:
    """Refuse what is no TFLite file before BoxMOT sees it, which tries to unpickle whatever it is given."""
    try:
        with path.open("rb") as stream:
            head = stream.read(8)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}") from error
    root = int.from_bytes(head[:4], "little")
    if head[4:8] != b"TFL3" or root % 4 or not 0 < root < _MAX_TFLITE_ROOT:
        raise WeightsError(f"{path}: expected a TFLite model, found another kind of file")


class BoxmotEmbedder(NetworkEmbedder):
    """A TensorRT ``.engine`` on CUDA, or a ``.tflite`` model on the CPU, run through BoxMOT.

    Open only engines that you trust: TensorRT's format can carry code.

    Args:
        weights: The file.
        device: ``"auto"``, or a CUDA device for an engine, or ``"cpu"`` for TFLite.
        half: Ignored with a notice where the model computes in FP32; its precision is in the file.
        batch_size: Most crops per inference.

    Raises:
        EmbedderError: The runtime is not installed, or a device that is not there.
        WeightsError: The file cannot be loaded.
    """

    def __init__(
        self, weights: Path, *, device: str = "auto", half: bool = False, batch_size: int | None = None
    ) -> None:
        runtime = _RUNTIMES[weights.suffix.lower()]
        missing = missing_backend_requirement(runtime)
        if missing is not None:
            raise EmbedderError(
                f"{weights}: {missing} is needed for {weights.suffix.lower()} models and is not installed",
                hint=f"Run: pip install '{missing}'; or use an .onnx export of the model.",
            )
        wanted = parse_device(device)
        notices = []
        if runtime == "tflite":
            check_tflite(weights)
            if wanted.kind not in ("auto", "cpu"):
                raise EmbedderError(f"device {wanted}: TFLite models run on the CPU", hint="Use device cpu.")
            resolved = Device("cpu")
            if half:
                notices.append(f"half precision is ignored for {weights.name} on the CPU.")
                half = False
        else:
            resolved = torch_device(Device("cuda") if wanted.kind == "auto" else wanted)
            if resolved.kind != "cuda":
                raise EmbedderError(f"device {resolved}: TensorRT engines run on CUDA", hint="Use device cuda.")
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
