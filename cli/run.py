"""`gtrack run`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from cli.options import (
    BatchSize,
    Device,
    Download,
    Duration,
    Family,
    Half,
    ImageSize,
    Loop,
    MaxFrames,
    ModelsDir,
    NmsIou,
    NoProgress,
    ReconnectSeconds,
    ReidWeights,
    Runtime,
    ScoreThreshold,
    SearchChoice,
    Threads,
)
from cli.output import print_table, say

if TYPE_CHECKING:
    from tracking.outputs.result import TrackResult

__all__ = ["print_result", "read_class_ids", "run"]

_TRACKING = "Tracking (gallery_hybrid)"
_GALLERY = "Gallery"
_ENROLMENT = "Enrolment (the gallery is only read unless asked)"
_DETECTION = "Detection"
_SAVING = "Saving (nothing is written unless asked)"


class Enroll(str, Enum):
    """Whom to enrol; the words are those of `tracking.enrolment.base.EnrolMode`."""

    off = "off"
    unknown = "unknown"
    all = "all"


def read_class_ids(text: str | None) -> list[int] | None:
    """Class ids from text, such as ``0,2``; None for all."""
    if text is None:
        return None
    from tracking.errors import OptionError

    try:
        ids = [int(part) for part in text.replace(";", ",").split(",") if part.strip()]
    except ValueError:
        ids = []
    if not ids:
        raise OptionError(f"--classes must be class ids separated by commas, such as 0,2, got {text!r}.")
    return ids


def _temporal_options(pairs: Sequence[str]) -> dict[str, Any]:
    from tracking.errors import OptionError

    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise OptionError(f"--temporal-option must be NAME=VALUE, got {pair!r}.")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options


def print_result(result: TrackResult) -> None:
    """Who was seen when, what was counted, and where the outputs are; on stdout."""

    fps = result.video_fps

    def clock(frame: int) -> str:
        if not fps:
            return str(frame)
        minutes, seconds = divmod(frame / fps, 60)
        return f"{frame} ({int(minutes)}:{seconds:04.1f})"

    if result.sightings:
        print_table(
            "Who was seen when",
            ["identity", "frames", "first frame", "last frame", "tracks"],
            [(s.identity, s.frames, clock(s.first), clock(s.last), s.tracks) for s in result.sightings],
        )
    stats = result.stats
    print(
        f"{stats['frames']:.0f} frames, {stats['detections']:.0f} detections, {stats['tracked']:.0f} tracked in "
        f"{stats['tracks']:.0f} tracks, {stats['named']:.0f} named as {stats['identities']:.0f} identities; "
        f"{stats['crops']:.0f} crops embedded; {stats['seconds']:.1f} s, {stats['fps']:.0f} frames/s"
    )
    if "dropped" in stats:
        print(f"live: {stats['dropped']:.0f} frames dropped, {stats['reconnects']:.0f} reconnects")
    counts = result.enrolment
    if counts is not None:
        new = f" ({counts.identities} as new identities)" if counts.identities else ""
        rest = [f"{counts.too_short} too short", f"{counts.too_poor} too poor"]
        rest += [f"{counts.unsure} not surely one identity"] if counts.unsure else []
        rest += [f"{counts.redundant} more of the same"] if counts.redundant else []
        print(f"{counts.enrolled} enrolled{new}, {', '.join(rest)}")
    for name, path in (
        ("tracks", result.paths.json_path),
        ("video", result.paths.video_path),
        ("frames", result.paths.frames_dir),
        ("explanations", result.paths.explain_path),
    ):
        if path is not None:
            print(f"{name}: {path}")


def run(
    video: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(
            help="The video; with --detect also a camera's index, or the address of a stream.", show_default=False
        ),
    ] = None,
    dets_json: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--dets-json", help="Its detections, det-v1 JSON (see: gtrack schema det-v1).", show_default=False
        ),
    ] = None,
    detect: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--detect",
            rich_help_panel=_DETECTION,
            metavar="WEIGHTS",
            show_default=False,
            help="Detect in the same pass, in place of --dets-json: an .onnx (YOLO, YOLOX) or .pt (Ultralytics) file, "
            "or 'builtin'. --classes then limits what is detected.",
        ),
    ] = None,
    save_detections: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--save-detections",
            rich_help_panel=_DETECTION,
            metavar="FILE.json",
            help="Also write what was detected (det-v1).",
        ),
    ] = None,
    score_threshold: ScoreThreshold = 0.1,
    nms_iou: NmsIou = None,
    image_size: ImageSize = None,
    batch_size: BatchSize = 1,
    family: Family = "auto",
    reconnect_seconds: ReconnectSeconds = 30.0,
    duration: Duration = None,
    max_frames: MaxFrames = None,
    loop: Loop = False,
    video_option: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--video", help="The video, as an option.", show_default=False),
    ] = None,
    tracker: Annotated[
        str, typer.Option("--tracker", help="gallery_hybrid (association over time) or gallery_only (each detection).")
    ] = "gallery_hybrid",
    frame_range: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--range", help="A:B, only frames A up to, not including, B; either may be left out."),
    ] = None,
    classes: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--classes", help="Class ids to track, such as 0,2. Others pass through unchanged."),
    ] = None,
    class_names: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--class-names", help="A file with one class name a line, for detections that carry no name."),
    ] = None,
    lenient: Annotated[
        bool, typer.Option("--lenient", help="Leave unusable detections out, counted, instead of refusing the file.")
    ] = False,
    gallery: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--gallery",
            "-g",
            envvar="GTRACK_GALLERY",
            metavar="PATH|URL",
            rich_help_panel=_GALLERY,
            help="A gtrack gallery, or where one is served (http://HOST:PORT); or a tree of image folders (one an "
            "identity), which is ingested once and cached.",
        ),
    ] = None,
    reid_frequency: Annotated[
        int,
        typer.Option(
            "--reid-frequency", help="Frames between two looks at a track, on average.", rich_help_panel=_GALLERY
        ),
    ] = 10,
    gallery_match_threshold: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            "--gallery-match-threshold",
            rich_help_panel=_GALLERY,
            help="Largest cosine distance at which a name is given (0 to 2); lower is stricter. Default: what "
            "`gtrack gallery calibrate` has stored in the gallery, else 0.25.",
        ),
    ] = None,
    backfill: Annotated[
        bool,
        typer.Option(
            "--backfill",
            rich_help_panel=_GALLERY,
            help="Write a name that is decided later on the track's earlier frames too, in a second pass.",
        ),
    ] = False,
    search: Annotated[
        SearchChoice,
        typer.Option(
            "--search",
            rich_help_panel=_GALLERY,
            help="exact (compare with every entry), auto (the same answers, sooner), or hnsw (Chroma's index, "
            "approximately).",
        ),
    ] = SearchChoice.auto,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            rich_help_panel=_GALLERY,
            help="Say what each track's name rests on: in tracked.json, and as the picture RUN/explain.jpg.",
        ),
    ] = False,
    filter_gallery: Annotated[
        bool,
        typer.Option(
            "--filter-gallery", help="Drop detections of tracked classes that got no name.", rich_help_panel=_GALLERY
        ),
    ] = False,
    temporal: Annotated[
        str,
        typer.Option(
            "--temporal", help="How detections become tracks (see: gtrack list trackers).", rich_help_panel=_TRACKING
        ),
    ] = "botsort_motion",
    temporal_option: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--temporal-option",
            help="NAME=VALUE for that tracker's own options; repeatable.",
            rich_help_panel=_TRACKING,
        ),
    ] = None,
    track_thresh: Annotated[
        float,
        typer.Option(
            "--track-thresh",
            help="Score from which a detection may start a track; weaker ones (above 0.1) may continue one.",
            rich_help_panel=_TRACKING,
        ),
    ] = 0.45,
    match_thresh: Annotated[
        float,
        typer.Option(
            "--match-thresh",
            help="Highest cost (1 - IoU, fused with the score) that still links a detection "
            "to a track: higher links more, and risks swaps; lower breaks tracks.",
            rich_help_panel=_TRACKING,
        ),
    ] = 0.8,
    track_buffer: Annotated[
        int,
        typer.Option(
            "--track-buffer", help="Frames (at 30 per second) that a lost track is kept.", rich_help_panel=_TRACKING
        ),
    ] = 25,
    frame_rate: Annotated[
        int,
        typer.Option(
            "--frame-rate", help="Frames per second of the video; scales --track-buffer.", rich_help_panel=_TRACKING
        ),
    ] = 30,
    per_class: Annotated[
        bool, typer.Option("--per-class", help="Track each class on its own.", rich_help_panel=_TRACKING)
    ] = False,
    max_obs: Annotated[
        int, typer.Option("--max-obs", help="Observations kept per track.", rich_help_panel=_TRACKING)
    ] = 30,
    enroll: Annotated[
        Enroll,
        typer.Option(
            "--enroll",
            rich_help_panel=_ENROLMENT,
            help="Whom to put into the gallery once their track has ended: nobody, tracks without a name (as "
            "unknown-0001 and so on), or also sure matches of named people. An absent gallery is made.",
        ),
    ] = Enroll.off,
    source_id: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--source-id",
            rich_help_panel=_ENROLMENT,
            metavar="CAM",
            help="The camera, kept with what is enrolled. Default: the video's stem.",
        ),
    ] = None,
    grace_frames: Annotated[
        int,
        typer.Option(
            "--grace-frames",
            rich_help_panel=_ENROLMENT,
            help="Frames that a track may be out of sight before it has ended.",
        ),
    ] = 30,
    reid_weights: ReidWeights = None,
    models_dir: ModelsDir = Path("models"),
    device: Device = "auto",
    half: Half = False,
    runtime: Runtime = "auto",
    threads: Threads = None,
    download: Download = False,
    save_json: Annotated[
        bool, typer.Option("--json", help="Save the tracks as RUN/tracked.json (track-v1).", rich_help_panel=_SAVING)
    ] = False,
    save_frames: Annotated[
        bool, typer.Option("--frames", help="Save annotated frames as RUN/frames/000000.jpg.", rich_help_panel=_SAVING)
    ] = False,
    save_video: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--save-video", help="Save an annotated video as RUN/NAME.", metavar="NAME.mp4", rich_help_panel=_SAVING
        ),
    ] = None,
    out_dir: Annotated[
        Path, typer.Option("--out-dir", envvar="GTRACK_OUT_DIR", help="Root of run folders.", rich_help_panel=_SAVING)
    ] = Path("out"),
    run_name: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--run-name", help="Name of the run folder. Default: the video's stem.", rich_help_panel=_SAVING),
    ] = None,
    save_fps: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            "--save-fps", help="Frames per second of the saved video. Default: the source's.", rich_help_panel=_SAVING
        ),
    ] = None,
    fourcc: Annotated[
        str, typer.Option("--fourcc", help="Codec of the saved video.", rich_help_panel=_SAVING)
    ] = "mp4v",
    display: Annotated[bool, typer.Option("--display", help="Show a live window (q quits).")] = False,
    no_progress: NoProgress = False,
) -> None:
    """Track a video's detections and name the tracks from a gallery.

    Example: gtrack run clip.mp4 --dets-json clip.json --gallery people --json --save-video named.mp4

    Without detections: gtrack run clip.mp4 --detect yolox_nano.onnx --gallery people

    Ctrl-C keeps what is done: the saved files are complete up to the last frame, and --enroll stores its tracks.
    """
    arguments = dict(locals())  # what the options say; the inputs are taken out below
    from tracking.errors import OptionError

    for name in ("video", "video_option", "dets_json", "detect", "temporal_option", "no_progress"):
        del arguments[name]
    if video is not None and video_option is not None:
        raise OptionError("the video was given twice, as an argument and with --video.")
    source = video or video_option
    if source is None:
        raise OptionError("no video given.", hint="Example: gtrack run clip.mp4 --dets-json clip.json")
    if dets_json is None and detect is None:
        raise OptionError(
            "no detections given.",
            hint="Example: gtrack run clip.mp4 --dets-json clip.json, or --detect builtin to detect in the same pass",
        )
    if dets_json is not None and detect is not None:
        raise OptionError("--dets-json and --detect exclude each other.")
    from tracking.options import RunOptions, detector_options, parse_range
    from tracking.pipeline import TrackingRun

    arguments |= {
        "classes": read_class_ids(classes),
        "frame_range": parse_range(frame_range),
        "temporal_options": _temporal_options(temporal_option or []),
        "search": search.value,
        "enroll": enroll.value,
    }
    options = RunOptions.from_arguments(arguments)
    detections = dets_json if detect is None else detector_options(detect, arguments)
    assert detections is not None
    job = TrackingRun(detections, source, options, notify=say)
    try:
        result = job.execute_with_bars(enabled=not no_progress)
    except BaseException as error:
        if job.result is not None and job.result.stats["frames"]:
            how = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
            say(f"{how}; what follows is complete up to the last frame done.")
            print_result(job.result)
        raise
    print_result(result)
