"""Options of an export, and the checks before anything is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from tracking.errors import ExportError, OptionError
from tracking.reid.devices import Device, parse_device, torch_device
from tracking.reid.export.formats import FORMATS, ExportFormat, missing_simplifier

__all__ = ["CHECKPOINT_SUFFIXES", "DEFAULT_OPSET", "ExportOptions", "check_machine", "check_options", "check_source"]

DEFAULT_OPSET = 18
_OPSETS = (12, 20)
CHECKPOINT_SUFFIXES = (".pt", ".pth")


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Options of an export.

    Attributes:
        formats: Names in `FORMATS`.
        out_dir: Folder for export folders.
        run_name: Name of the export folder in it; None for the stem of the weights' name.
        device: Device for tracing the network and comparing the exports: ``"cpu"``, ``"cuda"``, ``"0"``, ``"mps"``.
        half: FP16: OpenVINO anywhere, ONNX, TorchScript and TensorRT on CUDA.
        batch_size: Size of the example batch, and of the model's batch if it is not dynamic; at least 1.
        dynamic: Whether the batch size is dynamic (for TFLite it never is).
        opset: Version of the ONNX operators, 12 to 20.
        simplify: Simplify the ONNX graph with onnxslim or onnxsim.
        optimize: Optimise TorchScript for mobile CPUs.
        verbose: Print all messages of TensorRT and of LiteRT's converter.
        crops: Folder of crops for the comparison; None for drawn crops.
        timing: Whether to time the exports.
    """

    formats: tuple[str, ...] = ("onnx",)
    out_dir: Path = Path("models/exports")
    run_name: str | None = None
    device: str = "cpu"
    half: bool = False
    batch_size: int = 1
    dynamic: bool = True
    opset: int = DEFAULT_OPSET
    simplify: bool = False
    optimize: bool = False
    verbose: bool = False
    crops: Path | None = None
    timing: bool = True


def check_options(options: ExportOptions) -> list[ExportFormat]:
    """Check the options against each other. Return the formats asked for, each once.

    Raises:
        OptionError: An option is out of its range, or contradicts another.
    """
    unknown = [name for name in options.formats if name not in FORMATS]
    if unknown or not options.formats:
        raise OptionError(
            f"`formats`: expected some of {', '.join(FORMATS)}, found {', '.join(unknown) or 'none'}.",
            field="formats",
            hint="`gtrack export reid --list-formats` describes them.",
        )
    formats = [FORMATS[name] for name in dict.fromkeys(options.formats)]
    if not _OPSETS[0] <= options.opset <= _OPSETS[1]:
        raise OptionError(f"`opset`: expected {_OPSETS[0]} to {_OPSETS[1]}, found {options.opset}.", field="opset")
    if options.batch_size < 1:
        raise OptionError(f"`batch_size`: expected at least 1, found {options.batch_size}.", field="batch_size")
    name = options.run_name
    if name is not None and (name in ("", ".", "..") or any(c in name for c in "/\\\0") or Path(name).name != name):
        raise OptionError(
            f"`run_name` must be a plain name without folders, found {name!r}.",
            field="run_name",
            hint="Choose the folder with `out_dir`.",
        )
    if options.optimize and "torchscript" not in options.formats:
        raise OptionError("`optimize=True` is for TorchScript, which `formats` does not name.", field="optimize")
    if options.simplify and not any(item.from_onnx for item in formats):
        raise OptionError(
            "`simplify=True` is for ONNX graphs, and no format of `formats` is made from one.", field="simplify"
        )
    return formats


def check_source(source: Path, formats: Iterable[ExportFormat], options: ExportOptions) -> None:
    """Check that the formats can be made from such a weights file.

    Raises:
        ExportError: The file is not a checkpoint or an ONNX model.
        OptionError: A format cannot be made from an ONNX model.
    """
    from tracking.reid.checkpoint import is_torchscript

    suffix = source.suffix.lower()
    if (
        source.is_dir()
        or suffix not in (*CHECKPOINT_SUFFIXES, ".onnx")
        or (suffix != ".onnx" and is_torchscript(source))
    ):
        raise ExportError(
            f"{source}: expected a .pt checkpoint or an .onnx model to export from; other formats "
            "cannot be exported again.",
            hint="Export from the checkpoint that it was made from.",
        )
    if suffix == ".onnx":
        for item in formats:
            if not item.from_onnx:
                raise OptionError(
                    f"{source.name}: {item.name} is made from the network's code, which an ONNX graph does not have.",
                    hint="Give the .pt checkpoint, or omit that format.",
                )
            if item.name == "onnx" and not options.simplify:
                raise OptionError(
                    f"{source.name} is ONNX already.", hint="Ask for another format, or pass `simplify=True`."
                )
            if item.name == "onnx" and options.half:
                raise OptionError(f"{source.name}: ONNX to ONNX in FP16 needs the .pt checkpoint.")


def check_machine(formats: Iterable[ExportFormat], options: ExportOptions) -> Device:
    """Check that this machine can make the formats. Return the device.

    Raises:
        ExportError: Something is missing; names all of it.
    """
    device = torch_device(parse_device(options.device))
    missing_parts = []
    for item in formats:
        missing = item.missing()
        if missing is not None:
            missing_parts.append(f"{item.name} needs {missing}")
        if item.cuda_only and device.kind != "cuda":
            missing_parts.append(f'{item.name} needs a CUDA GPU, `device="0"` (the device is {device})')
        if options.half and item.name == "tflite":
            missing_parts.append("tflite is exported in FP32 only, without `half`")
        elif options.half and not item.half_on_cpu and device.kind != "cuda":
            missing_parts.append(f'{item.name} in FP16 needs a CUDA GPU, `device="0"` (the device is {device})')
    if options.simplify and (missing := missing_simplifier()) is not None:
        missing_parts.append(f"`simplify=True` needs {missing}")
    if options.optimize:
        if device.kind != "cpu":
            missing_parts.append('`optimize=True` needs `device="cpu"`')
        elif not import_module("torch.backends.xnnpack").enabled:
            missing_parts.append(f"`optimize=True` needs a torch built with XNNPACK, and {version('torch')} is not")
    if missing_parts:
        raise ExportError(
            "; ".join(missing_parts) + ".", hint="Nothing was exported. Install what is missing, or omit its format."
        )
    return device
