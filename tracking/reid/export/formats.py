"""The formats that a ReID model is exported to: what each needs, and how it is written."""

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

from tracking.boxmot_adapter import missing_backend_requirement
from tracking.errors import ExportError
from tracking.reid.devices import Device
from tracking.reid.input_spec import Preprocessing
from tracking.reid.stamp import OPENVINO_EMPTY, OPENVINO_KEYS, STAMP_KEY

__all__ = ["FORMATS", "ExportFormat", "Source", "missing_simplifier"]

_WORKSPACE = 4 << 30


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """A format.

    Attributes:
        name: As in ``--include``.
        suffix: What the name of its file, or folder, ends with.
        what: A few words.
        missing: Says what this machine lacks for it, with the line that installs it; None if nothing.
        write: Writes a `Source` to a path.
        from_onnx: Whether it is made from an ONNX graph.
        cuda_only: Whether it is made on a CUDA device alone.
        half_on_cpu: Whether FP16 takes no GPU.
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
    """A model on its way out.

    Attributes:
        network: The torch module, in evaluation mode, float32, on the CPU; None where the source is ONNX.
        graph: The ONNX file, where the source is one.
        scratch: A folder for what is made on the way.
        preprocessing: For the size of the input.
        device: Where the network runs while it is traced.
        half: FP16.
        batch: Size of the example batch, and of the model's where it is not dynamic.
        dynamic: Whether the model's batch is free.
        opset: Version of ONNX's operators.
        simplify: Simplify the ONNX graph.
        optimize: Optimise TorchScript for mobile CPUs.
        verbose: Have TensorRT and LiteRT's converter say all they do.
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
        """The network on its device and of its precision, and an example batch for it."""
        import torch

        dtype = torch.float16 if half else torch.float32
        device = torch.device(str(self.device))
        size = (self.preprocessing.height, self.preprocessing.width)
        # At a batch of one, tracing takes a free batch for a constant in some architectures.
        batch = max(2, self.batch) if self.dynamic else self.batch
        # A copy: what was rounded to FP16 once stays so.
        network = copy.deepcopy(self.network).to(device=device, dtype=dtype)
        return network, torch.zeros(batch, 3, *size, device=device, dtype=dtype)

    def as_onnx(self, half: bool) -> Path:
        """The model as an ONNX file, made once."""
        target = self.scratch / f"graph-{'fp16' if half else 'fp32'}.onnx"
        if target.exists():
            return target
        beside = target.with_suffix(".part")
        if self.graph is not None:
            shutil.copyfile(self.graph, beside)
        else:
            from tracking.reid.conversion import write_onnx

            network, example = self.on_device(half)
            write_onnx(network, beside, example, opset=self.opset, dynamic=self.dynamic)
        _tidy(beside, self.simplify)
        beside.replace(target)
        return target


def _tidy(path: Path, simplify: bool) -> None:
    """Simplify a graph, and take out the stamp of a source that was an export itself."""
    import onnx

    model = onnx.load(str(path))
    kept = [entry for entry in model.metadata_props if entry.key != STAMP_KEY]
    if not simplify and len(kept) == len(model.metadata_props):
        return
    if simplify:
        if find_spec("onnxslim") is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = import_module("onnxslim").slim(model)
        else:
            model, same = import_module("onnxsim").simplify(model)
            if not same:
                raise ExportError("onnxsim found that the simplified graph computes something else")
        kept = [entry for entry in model.metadata_props if entry.key != STAMP_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def missing_simplifier() -> str | None:
    """What `Source.simplify` lacks on this machine."""
    if find_spec("onnxslim") is None and find_spec("onnxsim") is None:
        return "onnxslim (pip install onnxslim)"
    return None


def _write_onnx(source: Source, path: Path) -> None:
    shutil.copyfile(source.as_onnx(source.half), path)


def _write_torchscript(source: Source, path: Path) -> None:
    import torch

    network, example = source.on_device(source.half)
    # TorchScript is deprecated since torch 2.10 and says so; what an architecture's own code warns of is not news.
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(network, example, check_trace=False)
        if source.optimize:
            traced = import_module("torch.utils.mobile_optimizer").optimize_for_mobile(traced)
        torch.jit.save(traced, str(path))


def _write_openvino(source: Source, path: Path) -> None:
    openvino: Any = import_module("openvino")
    # Always from FP32: its own compression to FP16 keeps what would overflow, and an FP32 input.
    model = openvino.Core().read_model(str(source.as_onnx(half=False)))
    model.set_rt_info(OPENVINO_EMPTY, list(OPENVINO_KEYS))
    path.mkdir()
    name = path.name.removesuffix("_openvino_model")
    openvino.save_model(model, str(path / f"{name}.xml"), compress_to_fp16=source.half)


def _write_engine(source: Source, path: Path) -> None:
    trt: Any = import_module("tensorrt")
    logger = trt.Logger(trt.Logger.VERBOSE if source.verbose else trt.Logger.WARNING)
    builder = trt.Builder(logger)
    # TensorRT 10 knows explicit batches alone and ignores the flag; 8 and 9 need it.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(source.as_onnx(half=False).read_bytes()):
        errors = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise ExportError(f"TensorRT cannot read the ONNX graph: {errors}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE)
    if source.half:
        config.set_flag(trt.BuilderFlag.FP16)
    if source.dynamic:
        # An engine's free batch has a greatest size; gtrack's own on a GPU, unless a greater one was asked for.
        from tracking.reid.base import GPU_BATCH

        size = (3, source.preprocessing.height, source.preprocessing.width)
        most = max(GPU_BATCH, source.batch)
        profile = builder.create_optimization_profile()
        profile.set_shape(network.get_input(0).name, (1, *size), (min(8, most), *size), (most, *size))
        config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ExportError("TensorRT built no engine", hint="Pass `verbose=True` to see its messages.")
    path.write_bytes(bytes(engine))


def _write_tflite(source: Source, path: Path) -> None:
    litert: Any = import_module("litert_torch")
    network, example = source.on_device(half=False)
    # It reports each of its steps on stdout, which is for results.
    with contextlib.redirect_stdout(sys.stderr if source.verbose else io.StringIO()):
        litert.convert(network, (example[: source.batch],)).export(str(path))


def _missing_openvino() -> str | None:
    return None if find_spec("openvino") is not None else "OpenVINO (pip install openvino)"


def _missing_engine() -> str | None:
    if find_spec("tensorrt") is None:
        return "TensorRT for the CUDA of this machine (pip install tensorrt nvidia-tensorrt)"
    requirement = missing_backend_requirement("tensorrt")  # To load it again.
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
