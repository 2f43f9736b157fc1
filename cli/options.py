"""Options that several commands share, each with one meaning and one help text."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from cli.completion import complete_collection, complete_weights

__all__ = [
    "DETECTION",
    "DETECTORS",
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
    "TrustWeights",
    "WaitIndex",
]


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, one object a line.")]
Collection = Annotated[
    str | None,
    typer.Option(
        "--collection",
        help="Name of a collection; a gallery has one for each embedding model. Default: the first.",
        autocompletion=complete_collection,
    ),
]


class SearchChoice(str, Enum):
    """How a gallery is searched; the values are those of `gallery_db.search.nearest.Search`."""

    auto = "auto"
    hnsw = "hnsw"
    exact = "exact"


_MODEL = "Model"
DETECTION = "Detection"
_LIVE = "Live sources (a camera's index, an rtsp:// or http:// address)"

DETECTORS = (
    "an .onnx file (YOLO, YOLOX), a .pt file (Ultralytics), a name to look up in --models-dir, a published model such "
    "as yolox_nano (see: gtrack models list), hf://OWNER/REPOSITORY/FILE, or 'builtin'"
)
"""What `--detect` of a run and `--weights` of a detection take, in a help text."""

ReidWeights = Annotated[
    str | None,
    typer.Option(
        "--reid-weights",
        envvar="GTRACK_REID_WEIGHTS",
        help="ReID weights: a file (.onnx, .pt, TorchScript, OpenVINO, TensorRT, TFLite), a name to look up in "
        "--models-dir and the cache, a published model (see: gtrack models list), hf://OWNER/REPOSITORY/FILE, "
        "or 'builtin'. Default: the model of the gallery, else trained weights found there, else 'builtin'.",
        autocompletion=complete_weights,
        rich_help_panel=_MODEL,
    ),
]
ModelsDir = Annotated[
    Path,
    typer.Option(
        "--models-dir",
        envvar="GTRACK_MODELS_DIR",
        help="Folder in which names of weights are looked up first.",
        rich_help_panel=_MODEL,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        envvar="GTRACK_DEVICE",
        help="auto, cpu, cuda, tensorrt, mps, or the index of a CUDA device, such as 0.",
        rich_help_panel=_MODEL,
    ),
]
Half = Annotated[
    bool, typer.Option("--half", help="Compute in FP16, if the device supports it.", rich_help_panel=_MODEL)
]
Runtime = Annotated[
    str,
    typer.Option(
        "--runtime",
        help="auto: run .pt weights in the fastest runtime (on a CPU, convert them to ONNX once). torch: run them in "
        "torch.",
        rich_help_panel=_MODEL,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        help="CPU threads of the network. Default: the choice of its runtime.",
        rich_help_panel=_MODEL,
    ),
]
Download = Annotated[
    bool,
    typer.Option(
        "--download",
        help="Download a published model that is asked for by name (see: gtrack models list), once, into the cache.",
        rich_help_panel=_MODEL,
    ),
]
TrustWeights = Annotated[
    bool,
    typer.Option(
        "--trust-weights",
        help="Allow the weights file named in this command to run code, as TorchScript, TensorRT and Ultralytics' .pt "
        "files can, and to count as the model of which it is an export; remembered for that file.",
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
        help="Folder of the gallery, or address of a served one: http://HOST:PORT, also with /COLLECTION, or cloud:.",
    ),
]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="Show no progress bar.")]
WaitIndex = Annotated[
    bool,
    typer.Option(
        "--wait-index/--no-index",
        help="Also bring the Chroma index up to date; else it follows when --search hnsw or serve first needs it.",
    ),
]

ScoreThreshold = Annotated[
    float,
    typer.Option(
        "--score-threshold",
        rich_help_panel=DETECTION,
        help="Lowest score of a detection. It is low because trackers continue tracks with weak detections; "
        "--track-thresh of `gtrack run` is the lowest score that may start a track.",
    ),
]
NmsIou = Annotated[
    float | None,
    typer.Option(
        "--nms-iou",
        rich_help_panel=DETECTION,
        help="IoU above which the weaker of two boxes of the same class is removed. Default: 0.5; builtin: 0.3.",
    ),
]
BatchSize = Annotated[
    int,
    typer.Option(
        "--batch-size",
        rich_help_panel=DETECTION,
        help="Frames detected at once, if the model accepts several. Useful on a GPU; live sources use 1.",
    ),
]
ImageSize = Annotated[
    int | None,
    typer.Option(
        "--image-size",
        rich_help_panel=DETECTION,
        help="Input size of the detector in pixels, if the model accepts several. Default: the size in the model file, "
        "else 640; for builtin: 1152, the longer side.",
    ),
]
Family = Annotated[
    str,
    typer.Option(
        "--family",
        rich_help_panel=DETECTION,
        help="Format of the output of an .onnx detector: auto, yolox, yolov5, yolov8 or end2end.",
    ),
]
ReconnectSeconds = Annotated[
    float,
    typer.Option(
        "--reconnect-seconds",
        rich_help_panel=_LIVE,
        help="Seconds in which gtrack tries to reconnect to a lost stream; 0: end at once.",
    ),
]
Duration = Annotated[
    float | None,
    typer.Option("--duration", metavar="SECONDS", help="End after this time.", rich_help_panel=_LIVE),
]
MaxFrames = Annotated[
    int | None,
    typer.Option("--max-frames", help="End after this number of processed frames.", rich_help_panel=_LIVE),
]
Loop = Annotated[
    bool,
    typer.Option(
        "--loop",
        rich_help_panel=_LIVE,
        help="Play a video file like a camera: in real time, and from the start again at its end.",
    ),
]
