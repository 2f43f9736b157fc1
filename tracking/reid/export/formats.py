"""The export formats of ReID models: their requirements, and how each is written."""

from __future__ import annotations

import contextlib
import copy
import io
import shutil
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gallery_db.privacy import import_openvino
from tracking.boxmot_adapter import missing_backend_requirement
from tracking.errors import ExportError
from tracking.reid.denormals import zero_denormals
from tracking.reid.devices import Device
from tracking.reid.input_spec import Preprocessing
from tracking.reid.stamp import OPENVINO_EMPTY, OPENVINO_KEYS, STAMP_KEY

__all__ = ["FORMATS", "ExportFormat", "Source", "missing_simplifier"]

_WORKSPACE_BYTES = 4 << 30


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """An export format.

    Attributes:
        name: Its name, as in ``--include``.
        suffix: End of the name of its file or folder.
        what: A short description.
        missing: Returns what this machine lacks for it, with the command that installs it; None if nothing is missing.
        write: Writes a `Source` to a path.
        from_onnx: Whether it is made from an ONNX graph.
        cuda_only: Whether it can be made on a CUDA device only.
        half_on_cpu: Whether FP16 is possible without a GPU.
    """

    name: str
    suffix: str
    what: str
    missing: Callable[[], str | None]
    write: Callable[[Source, Path], None]
    from_onnx: bool = False
    cuda_only: bool = False
    half_on_cpu: bool = False


@dataclass(slots=True)
class Source:
    """The model to export, and the options that the formats need.

    Attributes:
        network: The torch module, in evaluation mode, float32, on the CPU; None if the source is ONNX.
        graph: The ONNX file, if the source is one; else None.
        scratch: Folder for intermediate files.
        preprocessing: The source's preprocessing, for the size of the input.
        device: Device on which the network is traced.
        half: Whether to export in FP16.
        batch: Size of the example batch, and of the model's batch if it is not dynamic.
        dynamic: Whether the model's batch is free.
        opset: Version of the ONNX operators.
        simplify: Simplify the ONNX graph.
        optimize: Optimise TorchScript for mobile CPUs.
        verbose: Print all messages of TensorRT and of LiteRT's converter.
    """

    network: Any
    graph: Path | None
    scratch: Path
    preprocessing: Preprocessing
    device: Device
    half: bool
    batch: int
    dynamic: bool
    opset: int
    simplify: bool
    optimize: bool
    verbose: bool

    def on_device(self, half: bool) -> tuple[Any, Any]:
        """Return a copy of the network with the device and precision, and an example batch for it."""
        import torch

        dtype = torch.float16 if half else torch.float32
        device = torch.device(str(self.device))
        size = (self.preprocessing.height, self.preprocessing.width)
        # With a batch of one, tracing makes the batch size a constant in some architectures.
        batch = max(2, self.batch) if self.dynamic else self.batch
        # A copy, because weights rounded to FP16 cannot be restored.
        network = copy.deepcopy(self.network).to(device=device, dtype=dtype)
        return network, torch.zeros(batch, 3, *size, device=device, dtype=dtype)

    def as_onnx(self, half: bool) -> Path:
        """Return the model as an ONNX file, which is written once."""
        target = self.scratch / f"graph-{'fp16' if half else 'fp32'}.onnx"
        if target.exists():
            return target
        part = target.with_suffix(".part")
        if self.graph is not None:
            shutil.copyfile(self.graph, part)
        else:
            from tracking.reid.conversion import write_onnx

            network, example = self.on_device(half)
            write_onnx(network, part, example, opset=self.opset, dynamic=self.dynamic)
        _clean_graph(part, self.simplify)
        part.replace(target)
        return target


def _clean_graph(path: Path, simplify: bool) -> None:
    """Simplify a graph if asked, and remove denormal weights and the stamp of a source that was an export itself."""
    import onnx

    model = onnx.load(str(path))
    kept = [entry for entry in model.metadata_props if entry.key != STAMP_KEY]
    if not zero_denormals(model) and not simplify and len(kept) == len(model.metadata_props):
        return
    if simplify:
        if find_spec("onnxslim") is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = import_module("onnxslim").slim(model)
        else:
            model, same = import_module("onnxsim").simplify(model)
            if not same:
                raise ExportError("onnxsim found that the simplified graph gives other results.")
        kept = [entry for entry in model.metadata_props if entry.key != STAMP_KEY]
    # Simplifying multiplies weights with each other.
    zero_denormals(model)
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def missing_simplifier() -> str | None:
    """Return what this machine lacks to simplify graphs, with the command that installs it; None if nothing."""
    if find_spec("onnxslim") is None and find_spec("onnxsim") is None:
        return "onnxslim (pip install onnxslim)"
    return None


def _write_onnx(source: Source, path: Path) -> None:
    shutil.copyfile(source.as_onnx(source.half), path)


def _write_torchscript(source: Source, path: Path) -> None:
    import torch

    network, example = source.on_device(source.half)
    # TorchScript warns that it is deprecated (since torch 2.10). Architectures' own warnings do not concern the user.
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(network, example, check_trace=False)
        if source.optimize:
            traced = import_module("torch.utils.mobile_optimizer").optimize_for_mobile(traced)
        torch.jit.save(traced, str(path))


def _write_openvino(source: Source, path: Path) -> None:
    openvino = import_openvino()
    # Always from FP32: OpenVINO's compression to FP16 keeps values that would overflow, and an FP32 input.
    model = openvino.Core().read_model(str(source.as_onnx(half=False)))
    model.set_rt_info(OPENVINO_EMPTY, list(OPENVINO_KEYS))
    path.mkdir()
    name = path.name.removesuffix("_openvino_model")
    openvino.save_model(model, str(path / f"{name}.xml"), compress_to_fp16=source.half)


def _write_engine(source: Source, path: Path) -> None:
    trt: Any = import_module("tensorrt")
    logger = trt.Logger(trt.Logger.VERBOSE if source.verbose else trt.Logger.WARNING)
    builder = trt.Builder(logger)
    # TensorRT 8 and 9 need this flag for explicit batches. TensorRT 10 has no others, and ignores the flag.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(source.as_onnx(half=False).read_bytes()):
        errors = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise ExportError(f"TensorRT cannot read the ONNX graph: {errors}.")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
    if source.half:
        config.set_flag(trt.BuilderFlag.FP16)
    if source.dynamic:
        # A dynamic batch of an engine has a maximum: gtrack's batch size on a GPU, or a larger one that was asked for.
        from tracking.reid.base import GPU_BATCH

        size = (3, source.preprocessing.height, source.preprocessing.width)
        most = max(GPU_BATCH, source.batch)
        profile = builder.create_optimization_profile()
        profile.set_shape(network.get_input(0).name, (1, *size), (min(8, most), *size), (most, *size))
        config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ExportError("TensorRT built no engine.", hint="Pass `verbose=True` to see its messages.")
    path.write_bytes(bytes(engine))


def _write_tflite(source: Source, path: Path) -> None:
    litert: Any = import_module("litert_torch")
    network, example = source.on_device(half=False)
    # It prints each of its steps to stdout, which is for results.
    with contextlib.redirect_stdout(sys.stderr if source.verbose else io.StringIO()):
        litert.convert(network, (example[: source.batch],)).export(str(path))


def _missing_openvino() -> str | None:
    return None if find_spec("openvino") is not None else "OpenVINO (pip install openvino)"


def _missing_engine() -> str | None:
    if find_spec("tensorrt") is None:
        return "TensorRT for the CUDA of this machine (pip install tensorrt nvidia-tensorrt)"
    requirement = missing_backend_requirement("tensorrt")  # Needed to load the engine again.
    return f"{requirement} (pip install '{requirement}')" if requirement is not None else None


def _missing_tflite() -> str | None:
    if find_spec("litert_torch") is None:
        return "LiteRT's converter (pip install litert-torch ai-edge-litert)"
    requirement = missing_backend_requirement("tflite")
    return f"{requirement} (pip install '{requirement}')" if requirement is not None else None


FORMATS = {
    item.name: item
    for item in (
        ExportFormat("onnx", ".onnx", "ONNX Runtime; fastest on most CPUs", lambda: None, _write_onnx, True),
        ExportFormat("torchscript", ".torchscript", "torch without Python code", lambda: None, _write_torchscript),
        ExportFormat(
            "openvino",
            "_openvino_model",
            "OpenVINO, a folder; fast on Intel CPUs",
            _missing_openvino,
            _write_openvino,
            from_onnx=True,
            half_on_cpu=True,
        ),
        ExportFormat(
            "engine",
            ".engine",
            "TensorRT, for this very GPU",
            _missing_engine,
            _write_engine,
            from_onnx=True,
            cuda_only=True,
        ),
        ExportFormat("tflite", ".tflite", "LiteRT; FP32, fixed batch", _missing_tflite, _write_tflite),
    )
}
"""The formats by name."""
