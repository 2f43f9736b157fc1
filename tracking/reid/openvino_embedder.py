"""ReID networks in OpenVINO's format, run by OpenVINO."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gallery_db.privacy import import_openvino
from tracking.errors import EmbedderError, WeightsError, error_line
from tracking.reid.base import NetworkEmbedder
from tracking.reid.cache import openvino_xml
from tracking.reid.devices import default_threads, parse_device
from tracking.reid.model_description import resolve_preprocessing

__all__ = ["OpenVinoEmbedder"]


class OpenVinoEmbedder(NetworkEmbedder):
    """An OpenVINO ReID model on the CPU: one input [N, 3, H, W], first output [N, D].

    Args:
        weights: The ``.xml``, with its ``.bin`` beside it, or the ``*_openvino_model`` folder.
        device: ``"auto"`` or ``"cpu"``.
        half: Ignored with a notice.
        threads: Inference threads; None for the number of cores, at most 4.
        batch_size: Maximum number of crops per inference; None for 8.

    Raises:
        EmbedderError: OpenVINO is not installed, the device is not the CPU, or an input or output has another form.
        WeightsError: The file is not an OpenVINO model.
    """

    def __init__(
        self,
        weights: Path,
        *,
        device: str = "auto",
        half: bool = False,
        threads: int | None = None,
        batch_size: int | None = None,
    ) -> None:
        if find_spec("openvino") is None:
            raise EmbedderError(f"{weights}: OpenVINO is not installed.", hint="Run: pip install openvino")
        if parse_device(device).kind not in ("auto", "cpu"):
            raise EmbedderError(f"device {device}: gtrack runs OpenVINO models on the CPU.", hint="Use device cpu.")
        openvino = import_openvino()
        path = openvino_xml(weights)
        if not path.with_suffix(".bin").is_file():
            raise WeightsError(f"{path}: expected its weights beside it as {path.with_suffix('.bin').name}.")
        core = openvino.Core()
        try:
            network = core.read_model(str(path))
            if len(network.inputs) != 1:
                raise EmbedderError(f"{path}: expected one input, found {len(network.inputs)}.")
            shape = network.input(0).get_partial_shape()
            if len(shape) != 4 or not (shape[1].is_dynamic or shape[1].get_length() == 3):
                raise EmbedderError(f"{path}: expected an input [N, 3, H, W], found {shape}.")
            sizes = tuple(0 if shape[axis].is_dynamic else int(shape[axis].get_length()) for axis in (2, 3))
            preprocessing = resolve_preprocessing(weights, (sizes[0], sizes[1]) if all(sizes) else None)
            config = {
                "INFERENCE_PRECISION_HINT": "f32",
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": threads or default_threads(),
                "CPU_DENORMALS_OPTIMIZATION": True,
            }
            fixed = None if shape[0].is_dynamic else int(shape[0].get_length())
            self._compiled = core.compile_model(network, "CPU", config)
        except (EmbedderError, WeightsError):
            raise
        except Exception as error:  # OpenVINO raises RuntimeError, and errors of pybind.
            raise WeightsError(
                f"{path}: OpenVINO cannot load it: {error_line(error, last=True)}.",
                hint="It is damaged, or was written by a newer OpenVINO.",
            ) from error
        notices = [f"half precision is ignored for {weights.name} on the CPU."] if half else []
        super().__init__(
            weights,
            preprocessing,
            device="cpu",
            runtime="openvino",
            batch_size=batch_size,
            fixed_batch=fixed,
            notices=notices,
        )

    def _infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            output: NDArray[np.float32] = self._compiled(batch)[0]
        except Exception as error:  # as above
            raise EmbedderError(
                f"{self._name}: OpenVINO failed on {len(batch)} crops: {error_line(error, last=True)}."
            ) from error
        return output

    def _release(self) -> None:
        self._compiled = None
