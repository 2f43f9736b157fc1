"""Export ReID models: write, load again like any other weights, compare with the source, and time."""

from __future__ import annotations

import json
import os
import shutil
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.atomic_files import Part, atomic_path, fsync_folder
from gallery_db.distribution import gtrack_version
from gallery_db.errors import GtrackError
from tracking.errors import ExportError, OutputError, error_line
from tracking.reid.cache import weights_sha256
from tracking.reid.conversion import PARITY
from tracking.reid.devices import Device
from tracking.reid.export.comparison import Comparison, compare, crops_per_second, drawn_crops, read_crops
from tracking.reid.export.formats import ExportFormat, Source
from tracking.reid.export.options import CHECKPOINT_SUFFIXES, ExportOptions, check_machine, check_options, check_source
from tracking.reid.export.report import META, Exported, ExportReport, earlier_exports, meta_document
from tracking.reid.loader import load_embedder, load_own_export
from tracking.reid.model_description import stamp_counts
from tracking.reid.sidecar import sidecar_path
from tracking.reid.stamp import Stamp, read_stamp, write_stamp
from tracking.reid.trust import executable_format, remember_trust

if TYPE_CHECKING:
    from tracking.reid.base import NetworkEmbedder

__all__ = ["MIN_FP16_COSINE", "export_reid"]

MIN_FP16_COSINE = 0.99
"""An FP16 export with a smaller least cosine is rejected as broken. From `PARITY` on it counts as its source."""
_BATCH = 32


def _compare_batches(
    embedder: NetworkEmbedder, crops: list[NDArray[np.uint8]], expected: NDArray[np.float32]
) -> tuple[Comparison, NDArray[np.float32]]:
    """Compare on all crops in large batches, then check that batches of one and three give the same embeddings.

    Returns:
        The comparison, and the export's embeddings.
    """
    found = embedder.embed(crops)
    result = compare(expected, found)
    for count in (1, 3):
        if not np.allclose(embedder.embed(crops[:count]), found[:count], atol=1e-2 if embedder.half else 1e-3):
            raise ExportError(f"the same crops have other embeddings in a batch of {count}.")
    return result, found


class _ExportRun:
    """One export: the source is loaded once, and each format goes through the same steps."""

    def __init__(self, source: Path, folder: Path, options: ExportOptions, device: Device) -> None:
        self.source, self.folder, self.options, self.device = source, folder, options, device
        self.half_load = options.half and device.kind == "cuda"
        checkpoint = source.suffix.lower() in CHECKPOINT_SUFFIXES
        self.original = self._load_source("torch" if checkpoint else "auto")
        self.crops = drawn_crops() if options.crops is None else read_crops(options.crops)
        where = "drawn by gtrack" if options.crops is None else f"from {options.crops}"
        self.crops_from = f"{len(self.crops)} crops {where}"
        self.expected = self.original.embed(self.crops)
        self.clock = "cpu" if device.kind == "cpu" else "wall"
        self.earlier = earlier_exports(folder, source, options.formats)
        self.network = None
        self.architecture = None
        if checkpoint:
            from tracking.reid.checkpoint import architecture_of, load_network

            self.architecture = architecture_of(source)
            self.network = load_network(source, self.architecture)

    def _load_source(self, runtime: str) -> NetworkEmbedder:
        from tracking.reid.base import NetworkEmbedder

        # One thread, so that crops per CPU second can be compared.
        embedder = load_embedder(self.source, device=str(self.device), runtime=runtime, threads=1, batch_size=_BATCH)
        assert isinstance(embedder, NetworkEmbedder)
        return embedder

    def _load_export(self, path: Path) -> NetworkEmbedder:
        # OpenVINO and TFLite run on the CPU only. One thread, as for the source.
        device = "cpu" if path.is_dir() or path.suffix == ".tflite" else str(self.device)
        return load_own_export(path, device=device, half=self.half_load, threads=1, batch_size=_BATCH)

    def _stage(self, raw: Path, stage: Path, stamp: Stamp) -> Path:
        """Copy what was written to a folder, under its final name, with a stamp."""
        if stage.exists():
            shutil.rmtree(stage)
        stage.mkdir()
        path = stage / raw.name
        shutil.copytree(raw, path) if raw.is_dir() else shutil.copyfile(raw, path)
        write_stamp(path, stamp)
        return path

    def _accept(self, item: ExportFormat, comparison: Comparison) -> bool:
        """Return whether an export counts as its source.

        Raises:
            ExportError: Its embeddings differ so much that it is broken.
        """
        minimum = MIN_FP16_COSINE if self.options.half else PARITY
        if not comparison.cosine_min >= minimum:
            raise ExportError(
                f"its embeddings differ from its source's: least cosine {comparison.cosine_min:.6f} < {minimum}.",
                hint="Export without `half`." if self.options.half else "Try another `opset`, or omit `simplify`.",
            )
        return comparison.cosine_min >= PARITY

    def export(self, item: ExportFormat, scratch: Path, job: Source) -> Exported:
        """Export to one format: write, compare, stamp, load again, and move into place."""
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
        # The first stamp makes no claim of equality; it is there for the preprocessing.
        path = self._stage(raw, scratch / f"{item.name}-compared", stamp)
        with self._load_export(path) as embedder:
            comparison, found = _compare_batches(embedder, self.crops, self.expected)
        same_space = self._accept(item, comparison)
        stamp = replace(stamp, same_space=same_space, cosine_min=comparison.cosine_min)
        path = self._stage(raw, scratch / f"{item.name}-final", stamp)
        # Without a machine's seal (the state folder cannot be written), it would count as a model of its own.
        written = read_stamp(path)
        same_space = same_space and written is not None and stamp_counts(path, written)
        with self._load_export(path) as embedder:
            if embedder.model.same_space(model) is not same_space:
                raise ExportError(f"loaded again, it is known as {embedder.model}; its source is {model}.")
            if not np.allclose(embedder.embed(self.crops[:2]), found[:2], atol=1e-2 if embedder.half else 1e-3):
                raise ExportError("loaded again, it gives other embeddings.")
        target = self.folder / path.name
        _move(path, target)
        if executable_format(target) is not None:
            remember_trust(target)
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
        """Time the source and all exports side by side. Return the source's rates, and the results with theirs."""
        embedders: dict[str, NetworkEmbedder] = {"source": self.original}
        try:
            for item in made:
                if item.path is not None:
                    embedders[item.format] = self._load_export(item.path)
            rates = crops_per_second(
                embedders, self.crops, clock=time.process_time if self.clock == "cpu" else time.perf_counter
            )
        finally:
            for name, embedder in embedders.items():
                if name != "source":
                    embedder.close()
        return rates["source"], [replace(item, crops_per_second=rates.get(item.format)) for item in made]

    def meta_document(self, report: ExportReport) -> dict[str, Any]:
        """Return the contents of ``export_meta.json``."""
        return meta_document(
            report,
            options=self.options,
            device=self.device,
            model=self.original.model,
            preprocessing=self.original.preprocessing,
            architecture=self.architecture,
            earlier=self.earlier,
        )


def _move(path: Path, target: Path) -> None:
    """Move a finished file or folder and its sidecar into place."""
    for file in path.iterdir() if path.is_dir() else [path]:
        with file.open("rb+") as stream:
            # Without this, a power failure may leave an empty file under the new name.
            os.fsync(stream.fileno())
    old = path.with_name("replaced")
    if target.is_dir():
        target.rename(old)
    sidecar = sidecar_path(path)
    if sidecar.exists():
        sidecar.replace(sidecar_path(target))
    path.replace(target)
    fsync_folder(target.parent)


def export_reid(
    weights: Path,
    options: ExportOptions | None = None,
    *,
    notify: Callable[[str], None] | None = None,
) -> ExportReport:
    """Export a ReID model to other formats.

    Everything is checked before anything is written. Each export is made in a hidden folder, loaded like any other
    weights, compared with its source, and moved into place. An export that fails leaves no file, and the others are
    made nevertheless. `META` lists all results, and is written again after each format.

    Args:
        weights: An existing ``.pt`` checkpoint of a BoxMOT architecture, or an ``.onnx`` model.
        options: What to export; None for the default, ONNX.
        notify: Called with a sentence when each format begins.

    Returns:
        The result for each format; see `ExportReport.ok`.

    Raises:
        OptionError: An option is out of its range, or contradicts another.
        ExportError: This machine lacks something, or the source cannot be exported.
        WeightsError, EmbedderError: The source cannot be loaded.
        OutputError: The folder cannot be written.
    """
    options = options or ExportOptions()
    formats = check_options(options)
    check_source(weights, formats, options)
    device = check_machine(formats, options)
    folder = options.out_dir / (options.run_name or weights.stem)
    report_progress = notify or (lambda text: None)
    run = _ExportRun(weights, folder, options, device)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        workplace = Part(folder / "export", folder=True)  # for what is being written; it gets no name of its own
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written: {error.strerror or error}.", hint="Choose another folder with `out_dir`."
        ) from error
    scratch = workplace.path
    report = ExportReport(
        folder, folder / META, weights, run.original.runtime, None, run.crops_from, run.clock, exports=()
    )

    def write_meta(made: list[Exported], source_rates: dict[int, float] | None = None) -> ExportReport:
        current = replace(report, exports=tuple(made), source_crops_per_second=source_rates)
        try:
            with atomic_path(current.meta) as part:
                part.write_text(
                    json.dumps(run.meta_document(current), indent=2, allow_nan=False) + "\n", encoding="utf-8"
                )
        except OSError as error:
            raise OutputError(f"{current.meta}: cannot be written: {error.strerror or error}.") from error
        return current

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
            report_progress(f"{item.name}: exporting, and comparing on {run.crops_from}")
            made.append(_attempt(run, item, scratch, job))
            report = write_meta(made)
        if options.timing and any(item.ok for item in made):
            report_progress("timing, side by side with the source")
            rates, made = run.time(made)
            report = write_meta(made, rates)
    finally:
        workplace.discard()
        with suppress(OSError):
            folder.rmdir()  # It is empty if the export was stopped before the first result.
        run.original.close()
    return report


def _attempt(run: _ExportRun, item: ExportFormat, scratch: Path, job: Source) -> Exported:
    """Export to one format. An error becomes its result."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return run.export(item, scratch, job)
    except GtrackError as error:
        return Exported(item.name, error=error.message, hint=error.hint)
    except Exception as error:  # noqa: BLE001  exporters run the model's own code, which can raise any error.
        return Exported(item.name, error=error_line(error))
