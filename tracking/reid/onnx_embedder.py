"""ReID networks in ONNX, run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.errors import EmbedderError, WeightsError, error_line
from tracking.reid.base import GPU_BATCH, NetworkEmbedder
from tracking.reid.denormals import zero_denormals
from tracking.reid.devices import default_threads, parse_device
from tracking.reid.model_description import resolve_preprocessing
from tracking.reid.onnx_session import InputShape, choose_providers, open_on_device, open_session, open_tensorrt

__all__ = ["OnnxEmbedder"]

_MAX_COMPARED_PIXELS = 64 * 256 * 128
"""A larger fixed batch stays as it is, because the comparison with it would take long."""
_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


def _with_dynamic_batch(path: Path) -> bytes | None:
    """Return the model with its fixed batch made dynamic; None if onnx cannot do that."""
    import onnx

    try:
        model = onnx.load(str(path))
        for value in (*model.graph.input, *model.graph.output):
            shape = value.type.tensor_type.shape
            if not shape.dim:
                return None
            shape.dim[0].dim_param = "batch"
        # Shapes that were inferred for the fixed batch are no longer valid.
        del model.graph.value_info[:]
        zero_denormals(model)
        data: bytes = model.SerializeToString()
    except Exception:  # noqa: BLE001  onnx and protobuf document no errors; the model still runs with its own batch.
        return None
    return data


def _gives_same_results(fixed: Any, batched: Any, name: str, batch: int, shape: tuple[int, ...]) -> bool:
    """Whether the rewritten model gives for two inputs at once the results of the original model for each."""
    inputs = np.random.default_rng(0).standard_normal((2, *shape)).astype(_DTYPES[fixed.get_inputs()[0].type])
    try:
        together = batched.run(None, {name: inputs})[0]
    except Exception:  # noqa: BLE001  ONNX Runtime's errors have no common base; a Reshape to a batch of one often fails here.
        return False
    filled = np.zeros((2, batch, *shape), inputs.dtype)
    filled[:, 0] = inputs
    alone = np.concatenate([fixed.run(None, {name: one})[0][:1] for one in filled])
    return together.shape == alone.shape and bool(np.allclose(together, alone, rtol=1e-3, atol=1e-4))


class OnnxEmbedder(NetworkEmbedder):
    """An ``.onnx`` ReID model: one input [N, 3, H, W] float32 or float16, first output [N, D].

    A fixed batch size is made dynamic if the model allows it, else a larger one than 1 is filled with zeros.

    Args:
        weights: The file whose name and hash identify the model.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:N"``, an index, ``"tensorrt"``, ``"tensorrt:N"``, or
            ``"mps"`` (CoreML).
        half: Compute in FP16 in TensorRT; elsewhere ignored with a notice: an ONNX model's precision is in its file.
        threads: CPU threads, each with a batch of its own; None for the number of cores, at most 4.
        batch_size: Maximum number of crops per inference; None for 8 on the CPU, 64 elsewhere.
        graph: The ONNX file to run, if it was converted from `weights`.

    Raises:
        WeightsError: The file is not an ONNX model, or its sidecar contradicts it.
        EmbedderError: The installed ONNX Runtime lacks the device, or an input or output has another form.
    """

    def __init__(
        self,
        weights: Path,
        *,
        device: str = "auto",
        half: bool = False,
        threads: int | None = None,
        batch_size: int | None = None,
        graph: Path | None = None,
    ) -> None:
        import onnxruntime

        path = graph or weights
        resolved, providers = choose_providers(parse_device(device), onnxruntime.get_available_providers())
        # Two threads with a batch each take a sixth less CPU time than two that share every operator.
        workers = (threads or default_threads()) if resolved.kind == "cpu" else 1
        notices = []
        try:
            session = open_on_device(path, 1, resolved, providers)
        except EmbedderError:
            raise
        except Exception as error:  # ONNX Runtime's errors have no common base.
            raise WeightsError(
                f"{path}: ONNX Runtime cannot load it: {error_line(error)}.",
                hint="It is damaged, is not an ONNX model, or needs a newer onnxruntime.",
            ) from error
        inputs = session.get_inputs()
        # A dynamic dimension is a string, or None.
        shape = [size if isinstance(size, int) else 0 for size in inputs[0].shape]
        if len(inputs) != 1 or len(shape) != 4 or shape[1] not in (0, 3) or inputs[0].type not in _DTYPES:
            found = "; ".join(f"{item.name} {item.type} {item.shape}" for item in inputs)
            raise EmbedderError(f"{path}: expected one input [N, 3, H, W] of float32 or float16, found {found}.")
        batch, _, height, width = shape
        preprocessing = resolve_preprocessing(weights, (height, width) if height and width else None)
        tensorrt = resolved.kind == "tensorrt"
        if half and not tensorrt:
            notices.append(f"half precision is ignored for {weights.name}: an ONNX model's precision is in its file.")
        self._input = inputs[0].name
        self._dtype = _DTYPES[inputs[0].type]
        source: Path | bytes = path
        pixels = batch * preprocessing.height * preprocessing.width
        if 0 < pixels <= _MAX_COMPARED_PIXELS and (batch > 1 or batch_size != 1):
            rewritten = _with_dynamic_batch(path)
            if rewritten is not None:
                try:
                    candidate = open_session(rewritten, 1, providers)
                except Exception:  # noqa: BLE001  as above; the original session is used.
                    candidate = None
                size = (3, preprocessing.height, preprocessing.width)
                if candidate is not None and _gives_same_results(session, candidate, self._input, batch, size):
                    session, source, batch = candidate, rewritten, 0
        if tensorrt:
            sizes = InputShape(
                self._input,
                batch or batch_size or GPU_BATCH,
                (3, preprocessing.height, preprocessing.width),
                fixed=bool(batch and shape[1] and height and width),
            )
            session = open_tensorrt(source, 1, resolved, sizes, half=half)
        self._session = session
        self._output = session.get_outputs()[0].name
        super().__init__(
            weights,
            preprocessing,
            device=str(resolved),
            runtime="onnx",
            half=self._dtype is np.float16 or (half and tensorrt),
            batch_size=batch_size,
            fixed_batch=batch or None,
            workers=workers,
            notices=notices,
        )

    def _infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            output: NDArray[np.float32] = self._session.run(
                [self._output], {self._input: batch.astype(self._dtype, copy=False)}
            )[0]
        except Exception as error:  # ONNX Runtime's errors have no common base.
            raise EmbedderError(
                f"{self._name}: ONNX Runtime failed on {len(batch)} crops: {error_line(error)}."
            ) from error
        return output

    def _release(self) -> None:
        self._session = None
