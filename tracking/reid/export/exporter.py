"""Exporting ReID models: written, loaded again as any weights are, compared with their source, and timed."""

from __future__ import annotations

import json
import os
import platform
import secrets
import shutil
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.atomic_files import atomic_path, fsync_folder
from gallery_db.distribution import gtrack_version
from gallery_db.errors import GtrackError
from tracking.errors import ExportError, OptionError, OutputError, WeightsError
from tracking.reid.cache import weights_sha256
from tracking.reid.conversion import PARITY
from tracking.reid.devices import Device, parse_device, torch_device
from tracking.reid.export.comparison import Comparison, compare, crops_per_second, drawn_crops, read_crops
from tracking.reid.export.formats import FORMATS, ExportFormat, Source, missing_simplifier
from tracking.reid.loader import load_embedder
from tracking.reid.reasons import reason
from tracking.reid.stamp import Stamp, write_stamp

if TYPE_CHECKING:
    from tracking.reid.base import NetworkEmbedder

__all__ = [
    "DEFAULT_OPSET",
    "LEAST_FP16",
    "META",
    "ExportOptions",
    "ExportReport",
    "Exported",
    "export_fields",
    "export_reid",
]

META = "export_meta.json"
"""Name of the file that says what was made."""
DEFAULT_OPSET = 18
LEAST_FP16 = 0.99
"""An FP16 export whose least cosine is below this is taken for broken; from `PARITY` on it counts as its source."""

_OPSETS = (12, 20)
_BATCH = 32
_PACKAGES = ("torch", "boxmot", "onnx", "onnxruntime", "openvino", "onnxslim", "onnxsim", "tensorrt")
_CHECKPOINTS = (".pt", ".pth")


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What to export, and how.

    Attributes:
        formats: Names in `FORMATS`.
        out_dir: Root of export folders.
        run_name: Name of the folder in it; the weights' stem if None.
        device: Where the network is traced, and the exports are compared: ``"cpu"``, ``"cuda"``, ``"0"``, ``"mps"``.
        half: FP16: OpenVINO anywhere, ONNX, TorchScript and TensorRT on CUDA.
        batch_size: Size of the example batch, and of the model's batch where that is not free; 1 or more.
        dynamic: Whether the batch is free (TFLite's never is).
        opset: Version of ONNX's operators, 12 to 20.
        simplify: Simplify the ONNX graph, with onnxslim or onnxsim.
        optimize: Optimise TorchScript for mobile CPUs.
        verbose: Have TensorRT and LiteRT's converter say all they do.
        crops: Folder of crops to compare on; None: crops that gtrack draws.
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


@dataclass(frozen=True, slots=True)
class Exported:
    """One format's outcome.

    Attributes:
        format: Its name.
        path: The file, or OpenVINO's folder; None where it failed.
        error: Why it failed.
        hint: What to do about that.
        sha256: Hash of the file; of an OpenVINO model, over its ``.xml`` then its ``.bin``.
        bytes: Its size.
        precision: ``"fp32"`` or ``"fp16"``.
        same_space: Whether galleries take it for its source.
        comparison: How far its embeddings are its source's.
        seconds: How long it took to write, compare and load.
        crops_per_second: By batch size; None where it was not timed.
    """

    format: str
    path: Path | None = None
    error: str | None = None
    hint: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    precision: str = "fp32"
    same_space: bool = False
    comparison: Comparison | None = None
    seconds: float = 0.0
    crops_per_second: dict[int, float] | None = None

    @property
    def ok(self) -> bool:
        """Whether it was made and is what it should be."""
        return self.error is None


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What `export_reid` did.

    Attributes:
        folder: The export folder.
        meta: ``export_meta.json`` in it.
        source: The weights.
        source_runtime: What ran them for comparison: ``"torch"`` or ``"onnx"``.
        source_crops_per_second: As in `Exported`.
        crops: What was compared on, in words.
        clock: ``"cpu"`` or ``"wall"``: what the seconds of crops per second are.
        exports: In the order asked for.
    """

    folder: Path
    meta: Path
    source: Path
    source_runtime: str
    source_crops_per_second: dict[int, float] | None
    crops: str
    clock: str
    exports: tuple[Exported, ...]

    @property
    def ok(self) -> bool:
        """Whether all formats were made."""
        return all(item.ok for item in self.exports)


def _check_words(options: ExportOptions) -> list[ExportFormat]:
    """The formats asked for, once every option was found to make sense."""
    unknown = [name for name in options.formats if name not in FORMATS]
    if unknown or not options.formats:
        raise OptionError(
            f"--include: expected some of {', '.join(FORMATS)}, found {', '.join(unknown) or 'none'}",
            hint="See gtrack export reid --list-formats.",
        )
    formats = [FORMATS[name] for name in dict.fromkeys(options.formats)]
    if not _OPSETS[0] <= options.opset <= _OPSETS[1]:
        raise OptionError(f"--opset: expected {_OPSETS[0]} to {_OPSETS[1]}, found {options.opset}")
    if options.batch_size < 1:
        raise OptionError(f"--batch-size: expected at least 1, found {options.batch_size}")
    name = options.run_name
    if name is not None and (name in ("", ".", "..") or any(c in name for c in "/\\\0") or Path(name).name != name):
        raise OptionError(
            f"--run-name {name!r} must be a plain name without folders.", hint="Choose the folder with --out-dir."
        )
    if options.optimize and "torchscript" not in options.formats:
        raise OptionError("--optimize is for TorchScript; --include does not name it")
    if options.simplify and not any(item.from_onnx for item in formats):
        raise OptionError("--simplify is for ONNX graphs; no format of --include is made from one")
    return formats


def _check_source(source: Path, formats: Iterable[ExportFormat], options: ExportOptions) -> None:
    """Refuse what cannot be made of such a file."""
    from tracking.reid.checkpoint import is_torchscript

    suffix = source.suffix.lower()
    if source.is_dir() or suffix not in (*_CHECKPOINTS, ".onnx") or (suffix != ".onnx" and is_torchscript(source)):
        raise ExportError(
            f"{source}: expected a .pt checkpoint or an .onnx model to export from; other formats are ends, "
            "not beginnings",
            hint="Export from the checkpoint that it was made of.",
        )
    if suffix == ".onnx":
        for item in formats:
            if not item.from_onnx:
                raise OptionError(
                    f"{source.name}: {item.name} is made from the network's own code, and an ONNX graph has none",
                    hint="Give the .pt checkpoint, or leave that format out.",
                )
            if item.name == "onnx" and not options.simplify:
                raise OptionError(f"{source.name} is ONNX already", hint="Ask for another format, or say --simplify.")
            if item.name == "onnx" and options.half:
                raise OptionError(f"{source.name}: ONNX to ONNX in FP16 needs the .pt checkpoint")


def _check_machine(formats: Iterable[ExportFormat], options: ExportOptions) -> Device:
    """Refuse what this machine lacks, all of it at once; return the device."""
    device = torch_device(parse_device(options.device))
    lacks = []
    for item in formats:
        missing = item.missing()
        if missing is not None:
            lacks.append(f"{item.name} needs {missing}")
        if item.cuda_only and device.kind != "cuda":
            lacks.append(f"{item.name} needs a CUDA GPU, --device 0 (the device is {device})")
        if options.half and item.name == "tflite":
            lacks.append("tflite is exported in FP32 alone, without --half")
        elif options.half and not item.half_on_cpu and device.kind != "cuda":
            lacks.append(f"{item.name} in FP16 needs a CUDA GPU, --device 0 (the device is {device})")
    if options.simplify and (missing := missing_simplifier()) is not None:
        lacks.append(f"--simplify needs {missing}")
    if options.optimize:
        if device.kind != "cpu":
            lacks.append("--optimize needs --device cpu")
        elif not import_module("torch.backends.xnnpack").enabled:
            lacks.append(f"--optimize needs a torch built with XNNPACK, and {version('torch')} is not")
    if lacks:
        raise ExportError("; ".join(lacks), hint="Nothing was exported. Install that, or leave it out.")
    return device


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": platform.platform(), "gtrack": gtrack_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _same(
    embedder: NetworkEmbedder, crops: list[NDArray[np.uint8]], expected: NDArray[np.float32]
) -> tuple[Comparison, NDArray[np.float32]]:
    """Compare on all crops, in large batches; then one and three of them, whose batches must be as good."""
    found = embedder.embed(crops)
    result = compare(expected, found)
    for count in (1, 3):
        if not np.allclose(embedder.embed(crops[:count]), found[:count], atol=1e-2 if embedder.half else 1e-3):
            raise ExportError(f"it embeds the same crops otherwise in a batch of {count}")
    return result, found


class _Export:
    """One run: the source is loaded once, each format goes through the same steps."""

    def __init__(self, source: Path, folder: Path, options: ExportOptions, device: Device) -> None:
        self.source, self.folder, self.options, self.device = source, folder, options, device
        self.half_load = options.half and device.kind == "cuda"
        checkpoint = source.suffix.lower() in _CHECKPOINTS
        self.original = self._load(source, runtime="torch" if checkpoint else "auto", half=False)
        self.crops = drawn_crops() if options.crops is None else read_crops(options.crops)
        where = "drawn by gtrack" if options.crops is None else f"from {options.crops}"
        self.crops_from = f"{len(self.crops)} crops {where}"
        self.expected = self.original.embed(self.crops)
        self.clock = "cpu" if device.kind == "cpu" else "wall"
        self.earlier = _earlier(folder, source, options.formats)
        self.network = None
        self.architecture = None
        if checkpoint:
            from tracking.reid.checkpoint import architecture_of, load_network

            self.architecture = architecture_of(source)
            self.network = load_network(source, self.architecture)

    def _load(self, path: Path, *, half: bool, runtime: str = "auto") -> NetworkEmbedder:
        from tracking.reid.base import NetworkEmbedder

        # One thread: crops per CPU second mean something then. OpenVINO runs on the CPU alone.
        device = "cpu" if path.is_dir() or path.suffix == ".tflite" else str(self.device)
        embedder = load_embedder(path, device=device, half=half, runtime=runtime, threads=1, batch_size=_BATCH)
        assert isinstance(embedder, NetworkEmbedder)
        return embedder

    def _staged(self, raw: Path, stage: Path, stamp: Stamp) -> Path:
        """A copy of what was written, under its final name, with a stamp."""
        if stage.exists():
            shutil.rmtree(stage)
        stage.mkdir()
        path = stage / raw.name
        shutil.copytree(raw, path) if raw.is_dir() else shutil.copyfile(raw, path)
        write_stamp(path, stamp)
        return path

    def _accept(self, item: ExportFormat, comparison: Comparison) -> bool:
        """Whether an export counts as its source; an error where it is not even near it."""
        least = LEAST_FP16 if self.options.half else PARITY
        if not comparison.cosine_min >= least:
            raise ExportError(
                f"its embeddings are not its source's: least cosine {comparison.cosine_min:.6f} < {least}",
                hint="Export without --half." if self.options.half else "Try another --opset, or without --simplify.",
            )
        return comparison.cosine_min >= PARITY

    def make(self, item: ExportFormat, scratch: Path, job: Source) -> Exported:
        """Write, compare, stamp, load again, and move into place."""
        start = time.perf_counter()
        raw_folder = scratch / f"{item.name}-raw"
        raw_folder.mkdir()
        raw = raw_folder / f"{self.source.stem}{item.suffix}"
        item.write(job, raw)
        model = self.original.model
        stamp = Stamp(
            source=model.name,
            source_sha256=model.sha256,
            same_space=False,
            cosine_min=0.0,
            dimension=model.dimension,
            preprocessing=self.original.preprocessing,
            precision="fp16" if self.options.half else "fp32",
            gtrack=gtrack_version(),
            batch=None if self.options.dynamic else self.options.batch_size,
        )
        # Compared with a stamp that vouches for nothing, for the preprocessing in it.
        path = self._staged(raw, scratch / f"{item.name}-compared", stamp)
        with self._load(path, half=self.half_load) as embedder:
            comparison, found = _same(embedder, self.crops, self.expected)
        same_space = self._accept(item, comparison)
        stamp = replace(stamp, same_space=same_space, cosine_min=comparison.cosine_min)
        path = self._staged(raw, scratch / f"{item.name}-final", stamp)
        with self._load(path, half=self.half_load) as embedder:
            if embedder.model.same_space(model) is not same_space:
                raise ExportError(f"loaded again it is {embedder.model}, its source {model}")
            if not np.allclose(embedder.embed(self.crops[:2]), found[:2], atol=1e-2 if embedder.half else 1e-3):
                raise ExportError("loaded again it embeds otherwise")
        target = self.folder / path.name
        _move(path, target)
        return Exported(
            item.name,
            target,
            sha256=weights_sha256(target),
            bytes=sum(file.stat().st_size for file in (target.iterdir() if target.is_dir() else [target])),
            precision=stamp.precision,
            same_space=same_space,
            comparison=comparison,
            seconds=time.perf_counter() - start,
        )

    def time(self, made: list[Exported]) -> tuple[dict[int, float], list[Exported]]:
        """Time the source and all that was made side by side."""
        embedders: dict[str, NetworkEmbedder] = {"source": self.original}
        try:
            for item in made:
                if item.path is not None:
                    embedders[item.format] = self._load(item.path, half=self.half_load)
            rates = crops_per_second(
                embedders, self.crops, clock=time.process_time if self.clock == "cpu" else time.perf_counter
            )
        finally:
            for name, embedder in embedders.items():
                if name != "source":
                    embedder.close()
        return rates["source"], [replace(item, crops_per_second=rates.get(item.format)) for item in made]


def _move(path: Path, target: Path) -> None:
    """Move a finished file, or folder, and its sidecar into place."""
    from tracking.reid.input_spec import sidecar_path

    for file in path.iterdir() if path.is_dir() else [path]:
        with file.open("rb+") as stream:
            # Without this a power cut may leave the new name on an empty file.
            os.fsync(stream.fileno())
    old = path.with_name("replaced")
    if target.is_dir():
        target.rename(old)
    sidecar = sidecar_path(path)
    if sidecar.exists():
        sidecar.replace(sidecar_path(target))
    path.replace(target)
    fsync_folder(target.parent)


def _meta(run: _Export, report: ExportReport) -> dict[str, Any]:
    options = asdict(run.options)
    options["out_dir"], options["formats"] = str(run.options.out_dir), list(run.options.formats)
    options["crops"] = str(run.options.crops) if run.options.crops else None
    model = run.original.model
    return {
        "created_at_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "settings": {**options, "resolved_device": str(run.device)},
        "versions": _versions(),
        "source": {
            "path": str(run.source.resolve()),
            "sha256": weights_sha256(run.source),
            "identity_sha256": model.sha256,
            "architecture": run.architecture,
            "dimension": model.dimension,
            "preprocessing": asdict(run.original.preprocessing),
            "runtime": report.source_runtime,
            "crops_per_second": report.source_crops_per_second,
        },
        "compared_on": report.crops,
        "clock": report.clock,
        "exports": [export_fields(item) for item in report.exports] + run.earlier,
    }


def _earlier(folder: Path, source: Path, names: Iterable[str]) -> list[dict[str, Any]]:
    """What an earlier run left here of the same source in other formats, and nobody changed since."""
    found = []
    with suppress(OSError, ValueError, KeyError, TypeError, WeightsError):
        content = json.loads((folder / META).read_text(encoding="utf-8"))
        if content["source"]["sha256"] == weights_sha256(source):
            for entry in content["exports"]:
                path = folder / Path(entry["path"]).name if entry["ok"] else None
                if path is not None and entry["format"] not in names and weights_sha256(path) == entry["sha256"]:
                    found.append({**entry, "path": str(path.resolve()), "earlier": True})
    return found


def export_fields(item: Exported) -> dict[str, Any]:
    """One outcome as JSON, as in ``export_meta.json``."""
    fields: dict[str, Any] = {"format": item.format, "ok": item.ok}
    if not item.ok:
        return {**fields, "error": item.error, "hint": item.hint}
    assert item.path is not None
    return {
        **fields,
        "path": str(item.path.resolve()),
        "sha256": item.sha256,
        "bytes": item.bytes,
        "precision": item.precision,
        "same_space": item.same_space,
        **(asdict(item.comparison) if item.comparison else {}),
        "seconds": round(item.seconds, 2),
        "crops_per_second": item.crops_per_second,
    }


def export_reid(
    weights: Path,
    options: ExportOptions | None = None,
    *,
    notify: Callable[[str], None] | None = None,
) -> ExportReport:
    """Export a ReID model.

    Everything is checked before anything is written. Each format is made in a hidden folder beside its place,
    loaded as ``--reid-weights`` are, compared with its source, and moved into place; one that fails leaves nothing
    and does not keep the others from being made. `META` lists what became of each, and is written anew after each.

    Args:
        weights: An existing ``.pt`` checkpoint of a BoxMOT architecture, or an ``.onnx`` model.
        options: What to make; ONNX if None.
        notify: Called with a sentence as each format begins.

    Returns:
        What became of each format; see `ExportReport.ok`.

    Raises:
        OptionError: Options that make no sense.
        ExportError: Something that this machine lacks, or a source that cannot be exported.
        WeightsError, EmbedderError: The source cannot be loaded.
        OutputError: The folder cannot be written.
    """
    options = options or ExportOptions()
    formats = _check_words(options)
    _check_source(weights, formats, options)
    device = _check_machine(formats, options)
    folder = options.out_dir / (options.run_name or weights.stem)
    tell = notify or (lambda text: None)
    run = _Export(weights, folder, options, device)
    scratch = folder / f".export-{secrets.token_hex(4)}"
    try:
        scratch.mkdir(parents=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written: {error.strerror or error}", hint="Choose another folder with --out-dir."
        ) from error
    report = ExportReport(
        folder, folder / META, weights, run.original.runtime, None, run.crops_from, run.clock, exports=()
    )

    def record(made: list[Exported], source_rates: dict[int, float] | None = None) -> ExportReport:
        now = replace(report, exports=tuple(made), source_crops_per_second=source_rates)
        try:
            with atomic_path(now.meta) as beside:
                beside.write_text(json.dumps(_meta(run, now), indent=2, allow_nan=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{now.meta}: cannot be written: {error.strerror or error}") from error
        return now

    made: list[Exported] = []
    try:
        job = Source(
            network=run.network,
            graph=None if run.network is not None else weights,
            scratch=scratch,
            preprocessing=run.original.preprocessing,
            device=device,
            half=options.half,
            batch=options.batch_size,
            dynamic=options.dynamic,
            opset=options.opset,
            simplify=options.simplify,
            optimize=options.optimize,
            verbose=options.verbose,
        )
        for item in formats:
            tell(f"{item.name}: exporting, and comparing on {run.crops_from}")
            made.append(_attempt(run, item, scratch, job))
            report = record(made)
        if options.timing and any(item.ok for item in made):
            tell("timing, side by side with the source")
            rates, made = run.time(made)
            report = record(made, rates)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        with suppress(OSError):
            folder.rmdir()  # Where it was stopped before there was anything.
        run.original.close()
    return report


def _attempt(run: _Export, item: ExportFormat, scratch: Path, job: Source) -> Exported:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return run.make(item, scratch, job)
    except GtrackError as error:
        return Exported(item.name, error=error.message, hint=error.hint)
    except Exception as error:  # noqa: BLE001  exporters run the model's own code: anything may come out.
        return Exported(item.name, error=reason(error))
