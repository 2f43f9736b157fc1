"""Options that several commands share, with one meaning and one help text."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer

__all__ = [
    "AsJson",
    "BatchSize",
    "Collection",
    "Device",
    "Download",
    "Duration",
    "Family",
    "GalleryPath",
    "Half",
    "ImageSize",
    "Loop",
    "MaxFrames",
    "ModelsDir",
    "NmsIou",
    "NoProgress",
    "ReconnectSeconds",
    "ReidWeights",
    "Runtime",
    "ScoreThreshold",
    "SearchChoice",
    "Threads",
]


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, one object a line.")]
Collection = Annotated[
    Optional[str],  # noqa: UP045 - typer evaluates it on Python 3.10 as well
    typer.Option(
        "--collection",
        help="Name of a collection; a gallery has one for each embedding model. Default: the first.",
    ),
]


class SearchChoice(str, Enum):
    """How a gallery is searched; the words are those of `gallery_db.search.nearest.Search`."""

    auto = "auto"
    hnsw = "hnsw"
    exact = "exact"


_MODEL = "ReID model"
_DETECTION = "Detection"
_LIVE = "Live sources (a camera's index, an rtsp:// or http:// address)"

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
    typer.Option("--threads", min=1, help="CPU threads of a network.", rich_help_panel=_MODEL),
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
        help="The gallery's folder; or where it is served: http://HOST:PORT or http://HOST:PORT/COLLECTION, or cloud:.",
    ),
]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="No progress bar.")]

ScoreThreshold = Annotated[
    float,
    typer.Option(
        "--score-threshold",
        rich_help_panel=_DETECTION,
        help="Lowest score of a detection that is kept. Low, because trackers continue tracks with weak detections "
        "(--track-thresh says which may start one).",
    ),
]
NmsIou = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        "--nms-iou",
        rich_help_panel=_DETECTION,
        help="Of two boxes of a class that overlap more, the weaker is dropped. Default: 0.5; builtin: 0.3.",
    ),
]
BatchSize = Annotated[
    int,
    typer.Option(
        "--batch-size",
        rich_help_panel=_DETECTION,
        help="Frames detected at once, where the model takes several; of use on a GPU. Live sources: one.",
    ),
]
ImageSize = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        "--image-size",
        rich_help_panel=_DETECTION,
        help="Pixels of the detector's input, where the model leaves that open. Default: the model's, else 640; of "
        "the longer side for builtin: 1152.",
    ),
]
Family = Annotated[
    str,
    typer.Option(
        "--family",
        rich_help_panel=_DETECTION,
        help="How an .onnx detector's output is read, where auto guesses wrong: yolox, yolov5, yolov8 or end2end.",
    ),
]
ReconnectSeconds = Annotated[
    float,
    typer.Option(
        "--reconnect-seconds",
        rich_help_panel=_LIVE,
        help="How long a lost stream is tried again before the run gives up; 0: not at all.",
    ),
]
Duration = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option("--duration", metavar="SECONDS", help="End after that time.", rich_help_panel=_LIVE),
]
MaxFrames = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--max-frames", help="End after so many processed frames.", rich_help_panel=_LIVE),
]
Loop = Annotated[
    bool,
    typer.Option(
        "--loop",
        rich_help_panel=_LIVE,
        help="Play a video file like a camera: at its own speed, again and again.",
    ),
]
