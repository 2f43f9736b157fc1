"""Options that several commands share, with one meaning and one help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

__all__ = ["Device", "Download", "GalleryPath", "Half", "ModelsDir", "NoProgress", "ReidWeights", "Runtime", "Threads"]

_MODEL = "ReID model"

ReidWeights = Annotated[
    Optional[str],  # noqa: UP045 - typer evaluates it on Python 3.10 as well
    typer.Option(
        "--reid-weights",
        envvar="GTRACK_REID_WEIGHTS",
        help="ReID weights: a file (.onnx, .pt, TorchScript, OpenVINO, TensorRT, TFLite), a name to be found in "
        "--models-dir or the cache, or 'builtin'. Default: the gallery's own model, else trained weights found "
        "there, else 'builtin'.",
        rich_help_panel=_MODEL,
    ),
]
ModelsDir = Annotated[
    Path,
    typer.Option(
        "--models-dir",
        envvar="GTRACK_MODELS_DIR",
        help="Where names of weights are looked up first.",
        rich_help_panel=_MODEL,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        envvar="GTRACK_DEVICE",
        help="auto, cpu, cuda, mps, or a CUDA index such as 0.",
        rich_help_panel=_MODEL,
    ),
]
Half = Annotated[bool, typer.Option("--half", help="FP16, where the device has it.", rich_help_panel=_MODEL)]
Runtime = Annotated[
    str,
    typer.Option(
        "--runtime",
        help="auto runs .pt weights in the fastest runtime (on a CPU they are converted to ONNX once); torch runs "
        "them in torch.",
        rich_help_panel=_MODEL,
    ),
]
Threads = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--threads", min=1, help="CPU threads of the ReID model.", rich_help_panel=_MODEL),
]
Download = Annotated[
    bool,
    typer.Option(
        "--download",
        help="Allow weights that BoxMOT knows by name to be downloaded into the cache, once.",
        rich_help_panel=_MODEL,
    ),
]
GalleryPath = Annotated[
    str,
    typer.Option(
        "--gallery",
        "-g",
        envvar="GTRACK_GALLERY",
        metavar="PATH|URL",
        help="The gallery's folder; or where it is served: http://HOST:PORT[/COLLECTION], or cloud:[COLLECTION].",
    ),
]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="No progress bar.")]
