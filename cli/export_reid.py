"""`gtrack export reid`: a ReID model in the formats of other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.downloads import offer_downloads
from cli.options import Download, ModelsDir, NoProgress
from cli.output import print_error, print_json_lines, print_line, print_table, progress_bar, say

if TYPE_CHECKING:
    from tracking.reid.export.report import ExportReport

__all__ = ["reid"]

_FORMAT_OPTIONS = "Options of single formats"
_LISTS = "Lists"


def reid(
    more: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FORMAT]...", help="Further formats, as in: --include onnx openvino.", show_default=False
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            "-w",
            help="What to export: a .pt checkpoint or an .onnx model, by path or by name.",
        ),
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(
            "--include",
            help="Formats, separated by commas or repeated: onnx (default), torchscript, openvino, engine, tflite.",
        ),
    ] = None,
    out_dir: Annotated[Path, typer.Option("--out-dir", help="Folder in which the export folder is made.")] = Path(
        "models/exports"
    ),
    run_name: Annotated[
        str | None,
        typer.Option("--run-name", help="Name of the export folder. Default: the name of the weights."),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            "--device",
            help="Device on which the model is traced and compared: cpu, mps, cuda, or the index of a CUDA device.",
        ),
    ] = "cpu",
    half: Annotated[
        bool,
        typer.Option("--half", help="Export in FP16: openvino on any machine, the others on a CUDA GPU."),
    ] = False,
    batch_size: Annotated[
        int,
        typer.Option("--batch-size", help="Batch size of the model, with --no-dynamic."),
    ] = 1,
    dynamic: Annotated[
        bool,
        typer.Option(
            "--dynamic/--no-dynamic",
            help="Accept batches of any size (except TFLite).",
        ),
    ] = True,
    crops: Annotated[
        Path | None,
        typer.Option(
            "--crops",
            help="Folder of crops on which exports are compared with their source. Default: crops that gtrack draws.",
        ),
    ] = None,
    timing: Annotated[
        bool,
        typer.Option("--timing/--no-timing", help="Measure the speed of exports and source."),
    ] = True,
    opset: Annotated[
        int,
        typer.Option("--opset", help="Version of the ONNX operator set, 12 to 20.", rich_help_panel=_FORMAT_OPTIONS),
    ] = 18,
    simplify: Annotated[
        bool,
        typer.Option("--simplify", help="Simplify the ONNX graph (needs onnxslim).", rich_help_panel=_FORMAT_OPTIONS),
    ] = False,
    optimize: Annotated[
        bool, typer.Option("--optimize", help="Optimise TorchScript for mobile CPUs.", rich_help_panel=_FORMAT_OPTIONS)
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            help="Print all messages of TensorRT and of LiteRT's converter.",
            rich_help_panel=_FORMAT_OPTIONS,
        ),
    ] = False,
    list_formats: Annotated[
        bool,
        typer.Option(
            "--list-formats",
            help="List the formats, and what is missing for each on this machine.",
            rich_help_panel=_LISTS,
        ),
    ] = False,
    list_reid_models: Annotated[
        bool, typer.Option("--list-reid-models", help="Same as: gtrack list reid-models.", rich_help_panel=_LISTS)
    ] = False,
    list_reid_weights: Annotated[
        bool, typer.Option("--list-reid-weights", help="Same as: gtrack list reid-weights.", rich_help_panel=_LISTS)
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON on stdout, one object a line: one for each format.")
    ] = False,
    models_dir: ModelsDir = Path("models"),
    download: Download = False,
    no_progress: NoProgress = False,
) -> None:
    """Export a ReID model, and compare each export with its source.

    Example: gtrack export reid --weights osnet_x0_25_msmt17.pt --include onnx,openvino,torchscript

    Each export is loaded as --reid-weights would load it, compared with its source crop by crop, and timed. The table
    is printed and stored in OUT-DIR/RUN-NAME/export_meta.json. A gallery that was made with the source accepts the
    export as the same model. A format that fails leaves no file, and the exit code is 1; the other formats stay.
    """
    if list_formats or list_reid_models or list_reid_weights:
        _lists(list_formats, list_reid_models, list_reid_weights, models_dir, as_json)
        return
    from tracking.errors import OptionError
    from tracking.reid.export.exporter import export_reid
    from tracking.reid.export.options import ExportOptions
    from tracking.reid.weights import resolve_weights

    if weights is None:
        raise OptionError(
            "no weights given.", hint="Give --weights FILE; --list-reid-weights lists those on this machine."
        )
    words = [word.strip() for text in [*(include or []), *(more or [])] for word in text.split(",")]
    options = ExportOptions(
        formats=tuple(word for word in words if word) or ExportOptions().formats,
        out_dir=out_dir,
        run_name=run_name,
        device=device,
        half=half,
        batch_size=batch_size,
        dynamic=dynamic,
        opset=opset,
        simplify=simplify,
        optimize=optimize,
        verbose=verbose,
        crops=crops,
        timing=timing,
    )
    offer_downloads(models_dir, download, reid=weights)
    with progress_bar("downloading", "bytes", no_progress) as progress:
        path = resolve_weights(weights, models_dir, download=download, progress=progress)
    report = export_reid(path, options, notify=say)
    if as_json:
        from tracking.reid.export.report import export_fields

        print_json_lines(export_fields(item) for item in report.exports)
    else:
        _print(report)
    for item in report.exports:
        if item.error is not None:
            print_error(f"{item.format}: {item.error}", item.hint)
    if not report.ok:
        raise typer.Exit(1)


def _lists(formats: bool, models: bool, weights: bool, models_dir: Path, as_json: bool) -> None:
    from cli.listing import What, list_names

    if formats:
        from tracking.reid.export.formats import FORMATS

        columns = ["format", "suffix", "what", "missing"]
        rows: list[tuple[Any, ...]] = []
        for item in FORMATS.values():
            lacks = [*([text] if (text := item.missing()) else []), *(["a CUDA GPU"] if item.cuda_only else [])]
            rows.append((item.name, item.suffix, item.what, ", ".join(lacks)))
        if as_json:
            print_json_lines(dict(zip(columns, row, strict=True)) for row in rows)
        else:
            print_table(None, columns, rows)
    if models:
        list_names(What.reid_models, as_json, models_dir)
    if weights:
        list_names(What.reid_weights, as_json, models_dir)


def _print(report: ExportReport) -> None:
    from tracking.reid.export.comparison import BATCHES

    def rates(found: dict[int, float] | None) -> list[str]:
        return [f"{found[batch]:.0f}" if found else "-" for batch in BATCHES]

    seconds = "CPU s" if report.clock == "cpu" else "s"
    rows: list[list[Any]] = [["source", report.source_runtime, "", "", "", "", *rates(report.source_crops_per_second)]]
    for item in report.exports:
        if item.comparison is None:
            rows.append([item.format, "failed", "", "", "", "", *rates(None)])
            continue
        found = item.comparison
        rows.append(
            [
                item.format,
                item.precision,
                f"{found.cosine_min:.7f}",
                f"{found.cosine_mean:.7f}",
                f"{found.neighbours:.2%}",
                "the source's" if item.same_space else "a new one",
                *rates(item.crops_per_second),
            ]
        )
    batches = ", ".join(map(str, BATCHES))
    print_line(f"Compared on {report.crops}; speed in crops per {seconds}, in batches of {batches}.")
    print_table(
        None,
        [
            "format",
            "precision",
            "min cosine",
            "mean cosine",
            "same neighbour",
            "model",
            *(f"x{batch}" for batch in BATCHES),
        ],
        rows,
    )
    for item in report.exports:
        if item.path is not None:
            print_line(item.path)
    print_line(report.meta)
