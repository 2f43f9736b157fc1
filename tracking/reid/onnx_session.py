"""ONNX Runtime sessions: which execution provider runs a model on which device, and TensorRT's engines.

The CUDA and TensorRT providers were written against ONNX Runtime's documentation and sources; see
``tests/benchmarks/gpu.py``, which compares both with the CPU where there is a GPU.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gallery_db.logs import get_logger
from tracking.errors import EmbedderError, error_line
from tracking.reid.cache import cache_dir, weights_sha256
from tracking.reid.denormals import without_denormals
from tracking.reid.devices import Device, accelerator_likely

__all__ = [
    "InputShape",
    "choose_providers",
    "open_on_device",
    "open_session",
    "open_tensorrt",
    "tensorrt_providers",
]

_log = get_logger("reid")

_CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"
_TENSORRT = "TensorrtExecutionProvider"
_COREML = "CoreMLExecutionProvider"
_STARTED_AS = {"cuda": _CUDA, "tensorrt": _TENSORRT}
_ENGINES = "tensorrt"
_HINTS = {
    "cuda": "Install the CUDA and cuDNN versions that this onnxruntime-gpu was built for "
    "(pip install 'onnxruntime-gpu[cuda,cudnn]'), or use device cpu.",
    "tensorrt": "Install the TensorRT version that this onnxruntime-gpu was built for (the table at "
    "https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html), with its CUDA and cuDNN "
    "(pip install 'onnxruntime-gpu[cuda,cudnn]'); or use device cuda or cpu.",
}


@dataclass(frozen=True, slots=True)
class InputShape:
    """Sizes of a model's input in which it will be run.

    Attributes:
        name: Name of the input.
        batch: Size of a batch at most.
        size: The other dimensions: channels, height, width.
        fixed: Whether the file fixes all dimensions.
    """

    name: str
    batch: int
    size: tuple[int, int, int]
    fixed: bool = False


def choose_providers(device: Device, available: Sequence[str]) -> tuple[Device, list[Any]]:
    """Return the device, resolved if it is ``"auto"``, and ONNX Runtime's execution providers for it, best first.

    For TensorRT these are the CPU's, in which a model is examined first: TensorRT must know the sizes of its input
    (see `open_tensorrt`).

    Raises:
        EmbedderError: The installed ONNX Runtime has no provider for the device.
    """
    if device.kind == "auto":
        device = Device("cuda") if _CUDA in available and accelerator_likely() else Device("cpu")
    if device.kind in _STARTED_AS:
        wanted = _STARTED_AS[device.kind]
        if wanted not in available:
            what = "CUDA" if device.kind == "cuda" else "TensorRT"
            raise EmbedderError(
                f"device {device}: this ONNX Runtime has no {what} provider (it has {', '.join(available)}).",
                hint="Replace it: pip uninstall onnxruntime, then pip install onnxruntime-gpu; or use device cpu.",
            )
        return device, [_CPU] if device.kind == "tensorrt" else [(_CUDA, {"device_id": device.index}), _CPU]
    if device.kind == "mps":
        if _COREML not in available:
            raise EmbedderError(
                f"device mps: this ONNX Runtime has no CoreML provider (it has {', '.join(available)}).",
                hint="CoreML comes with the macOS builds of onnxruntime; elsewhere use device cpu.",
            )
        return device, [_COREML, _CPU]
    return device, [_CPU]


def open_session(source: Path | bytes, threads: int, providers: list[Any] | None = None) -> Any:
    """Open an ONNX Runtime session that leaves CPU time to the decoder and the tracker.

    Args:
        source: Path of the model, or its bytes. A file's denormal weights are taken as zero.
        threads: Threads within one operator, at least 1.
        providers: Execution providers in order of preference; None for the CPU.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Waiting threads that spin would use the cores that the decoder and the tracker need between two frames.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Denormal activations are as slow as denormal weights (see `tracking.reid.denormals`).
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    model = str(without_denormals(source)) if isinstance(source, Path) else source
    # Without this, ONNX Runtime prints a provider's error to standard output and takes the CPU in its place.
    return onnxruntime.InferenceSession(model, options, providers=providers or [_CPU], enable_fallback=0)


def open_on_device(source: Path | bytes, threads: int, device: Device, providers: list[Any]) -> Any:
    """Open a session with the providers of `choose_providers`, and check that the device takes part.

    Raises:
        EmbedderError: The device cannot start, although the CPU can load the model. Other errors are ONNX Runtime's own
            and say that the file cannot be loaded.
    """
    if len(providers) == 1:
        return open_session(source, threads, providers)
    _load_libraries(device)
    try:
        session = open_session(source, threads, providers)
    except Exception as error:
        open_session(source, threads)  # If the file is at fault, this fails as well.
        raise _cannot_start(device, error_line(error)) from error
    wanted = _STARTED_AS.get(device.kind)
    if wanted is not None and wanted not in session.get_providers():
        # Its libraries are missing, or there is no such GPU. ONNX Runtime says why in its log only.
        raise _cannot_start(device)
    return session


def open_tensorrt(source: Path | bytes, threads: int, device: Device, shape: InputShape, *, half: bool) -> Any:
    """Open a session whose model TensorRT runs; what it cannot run, CUDA does, and then the CPU.

    Args:
        source: Path of the model, or its bytes.
        threads: CPU threads, for what is left to the CPU.
        device: The device.
        shape: Sizes of the input.
        half: Whether TensorRT may compute in FP16.

    Raises:
        EmbedderError: TensorRT cannot start.
    """
    providers = tensorrt_providers(source, device, shape, half=half)
    folder = providers[0][1].get("trt_engine_cache_path")
    if folder is not None and not any(Path(folder).glob("*.engine")):
        _log.warning("TensorRT builds an engine for this model and GPU: this takes minutes, once")
    return open_on_device(source, threads, device, providers)


def tensorrt_providers(source: Path | bytes, device: Device, shape: InputShape, *, half: bool) -> list[Any]:
    """Return the execution providers for TensorRT, with a folder for the model's engine in the cache folder.

    An engine is for all sizes of `shape` at once: otherwise ONNX Runtime builds a new one in the middle of a run
    whenever a batch is larger than those before. Without a folder that this user alone can write to, engines are not
    kept: they are programs (see `tracking.reid.trust`).
    """
    options: dict[str, Any] = {"device_id": device.index, "trt_fp16_enable": half}
    if not shape.fixed:
        for limit, batch in (("min", 1), ("opt", min(8, shape.batch)), ("max", shape.batch)):
            options[f"trt_profile_{limit}_shapes"] = f"{shape.name}:{'x'.join(map(str, (batch, *shape.size)))}"
    folder = _engine_folder(source, shape, half)
    if _make_private(folder):
        options |= {"trt_engine_cache_enable": True, "trt_engine_cache_path": str(folder)}
        options |= {"trt_timing_cache_enable": True, "trt_timing_cache_path": str(folder)}
    else:
        _log.warning("%s cannot be written, or not by this user alone: TensorRT's engine is not kept", folder)
    return [(_TENSORRT, options), (_CUDA, {"device_id": device.index}), _CPU]


def _engine_folder(source: Path | bytes, shape: InputShape, half: bool) -> Path:
    """Return the folder for a model's engine.

    ONNX Runtime knows an engine by the names in its graph alone: two checkpoints of one architecture would get the same
    engine in one folder.
    """
    content = hashlib.sha256(source).hexdigest() if isinstance(source, bytes) else weights_sha256(source)
    parts = [content, str(shape), str(half), _version("onnxruntime-gpu"), _version("tensorrt")]
    return cache_dir() / _ENGINES / hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _make_private(folder: Path) -> bool:
    """Create a folder if it does not exist. Return whether there is one that this user alone can write to."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.stat()
    except OSError:
        return False
    return os.name != "posix" or not (status.st_mode & 0o022 or status.st_uid not in (0, os.geteuid()))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _load_libraries(device: Device) -> None:
    """Load the libraries of CUDA, cuDNN and TensorRT that pip installed, which the linker would not find."""
    if device.kind not in _STARTED_AS:
        return
    import onnxruntime

    preload = getattr(onnxruntime, "preload_dlls", None)
    if preload is not None:  # from 1.21 on
        # It prints what it does not find, and standard output is for results.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
            preload()
    if device.kind == "tensorrt":
        with contextlib.suppress(Exception):  # Its import loads them; they may also be installed without it.
            import tensorrt  # noqa: F401


def _cannot_start(device: Device, reason: str = "") -> EmbedderError:
    what = "CUDA" if device.kind == "cuda" else "TensorRT" if device.kind == "tensorrt" else "CoreML"
    because = f": {reason}" if reason else ""
    return EmbedderError(
        f"device {device}: ONNX Runtime's {what} provider cannot start{because}.",
        hint=_HINTS.get(device.kind, "Use device cpu."),
    )
