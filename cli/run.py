"""`gtrack run`: track a video, and name the tracks."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.completion import complete_detector, complete_temporal, complete_tracker
from cli.downloads import offer_downloads
from cli.new_galleries import announce_new_gallery
from cli.options import (
    DETECTION,
    DETECTORS,
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
    TrustWeights,
)
from cli.output import counted, print_json, print_line, print_table, print_text, say

if TYPE_CHECKING:
    from tracking.outputs.result import TrackResult

__all__ = ["print_result", "run"]

_NAMES = "Names from the gallery"
_ENROLMENT = "Enrolment and backfill"
_TRACKING = "Tracking"
_SAVING = "More to save"
_PICTURES = "Annotated pictures"


class Enroll(str, Enum):
    """Which tracks to enrol; the values are those of `tracking.enrolment.base.EnrolMode`."""

    off = "off"
    unknown = "unknown"
    all = "all"


class BlurChoice(str, Enum):
    """Whose boxes are blurred; the values are those of `tracking.outputs.blur.Blur`."""

    all = "all"
    unknown = "unknown"
    named = "named"


def _temporal_options(pairs: Sequence[str]) -> dict[str, Any]:
    from tracking.errors import OptionError

    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise OptionError(f"expected --temporal-option NAME=VALUE, found {pair!r}.")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options


def _detect_hint(source: str, gallery: str | None) -> str:
    from tracking.models.catalogue import DEFAULT_DETECTOR, find_model
    from tracking.models.resolve import describe_size

    model = find_model(DEFAULT_DETECTOR)
    assert model is not None
    words = ["gtrack", "run", source, *(["--gallery", gallery] if gallery else [])]
    command = shlex.join([*words, "--detect", model.name, "--classes", "person", "--download"])
    return (
        f"Give them with --dets-json FILE; or detect people in the same pass, with a published model "
        f"({describe_size(model.size)}, {model.licence}): {command}"
    )


def _result_document(result: TrackResult, complete: bool) -> dict[str, Any]:
    """Return what `--json` prints of a run."""
    paths = result.paths
    return {
        "complete": complete,
        "run_dir": _text(paths.run_dir),
        "tracks": _text(paths.json_path),
        "video": _text(paths.video_path),
        "frames": _text(paths.frames_dir),
        "crops": _text(paths.crops_dir),
        "explanations": _text(paths.explain_path),
        "video_fps": result.video_fps,
        "identities": [asdict(one) for one in result.sightings],
        "stats": result.stats,
        "warnings": list(result.warnings),
    }


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def print_result(result: TrackResult) -> None:
    """Print the identities on the video, the counts, and where the outputs are, on stdout."""

    def clock(frame: int) -> str:
        time = result.times.at(frame)
        if time is None:
            return str(frame)
        minutes, seconds = divmod(time, 60)
        return f"{frame} ({int(minutes)}:{seconds:04.1f})"

    if result.sightings:
        print_table(
            "Identities",
            ["identity", "frames", "first frame", "last frame", "tracks"],
            [(s.identity, s.frames, clock(s.first), clock(s.last), s.tracks or "") for s in result.sightings],
            whole=["first frame", "last frame"],
            optional=["tracks"],
        )
    stats = result.stats
    in_tracks = f"{stats['tracked']:.0f} of them in {counted(stats['tracks'], 'track')}" if stats["tracks"] else ""
    names = counted(stats["identities"], "identity") if stats["named"] else ""
    print_text(
        "; ".join(
            part
            for part in (
                f"{counted(stats['frames'], 'frame')}, {counted(stats['detections'], 'detection')}",
                in_tracks,
                f"{stats['named']:.0f} named as {names}" if names else "",
                f"{counted(stats['crops'], 'crop')} embedded" if stats["crops"] else "",
                f"{stats['seconds']:.1f} s, {stats['fps']:.0f} frames/s",
            )
            if part
        )
    )
    if "dropped" in stats:
        print_line(f"live: {stats['dropped']:.0f} frames dropped, {stats['reconnects']:.0f} reconnects")
    counts = result.enrolment
    if counts is not None:
        new = (
            f" ({counts.identities} as new {'identity' if counts.identities == 1 else 'identities'})"
            if counts.identities
            else ""
        )
        rest = [f"{counts.too_short} too short"] if counts.too_short else []
        rest += [f"{counts.too_poor} too poor"] if counts.too_poor else []
        rest += [f"{counts.unsure} like an identity, but not certain"] if counts.unsure else []
        rest += [f"{counts.redundant} like entries that the identity has"] if counts.redundant else []
        print_text(f"{', '.join([f'{counts.enrolled} enrolled{new}', *rest])}")
    for name, path in (
        ("run folder", result.paths.run_dir),
        ("tracks", result.paths.json_path),
        ("video", result.paths.video_path),
        ("frames", result.paths.frames_dir),
        ("crops", result.paths.crops_dir),
        ("explanations", result.paths.explain_path),
    ):
        if path is not None:
            print_line(f"{name}: {path}")


def _print(result: TrackResult, as_json: bool, *, complete: bool = True) -> None:
    if as_json:
        print_json(_result_document(result, complete))
    else:
        print_result(result)


def _print_frame(document: Mapping[str, Any]) -> None:
    print_json(document, flush=True)  # another program waits for it


def run(
    video: Annotated[
        str | None,
        typer.Argument(
            help="A video file; with --detect also the index of a camera, or the address of a stream.",
            show_default=False,
        ),
    ] = None,
    dets_json: Annotated[
        Path | None,
        typer.Option(
            "--dets-json",
            help="Detections of the video, det-v1 JSON (see: gtrack schema det-v1). Default, without --detect: "
            "CLIP.json or CLIP.detections.json beside the video CLIP.mp4.",
            show_default=False,
        ),
    ] = None,
    detect: Annotated[
        str | None,
        typer.Option(
            "--detect",
            autocompletion=complete_detector,
            metavar="WEIGHTS",
            show_default=False,
            help=f"Detect in the same pass, instead of --dets-json: {DETECTORS}. --classes then limits what is "
            "detected.",
        ),
    ] = None,
    gallery: Annotated[
        str | None,
        typer.Option(
            "--gallery",
            "-g",
            envvar="GTRACK_GALLERY",
            metavar="PATH|URL",
            help="Folder of a gallery, or address of a served one (http://HOST:PORT); or a folder with one sub-folder "
            "of images for each identity, which is ingested once and cached.",
        ),
    ] = None,
    enroll: Annotated[
        Enroll,
        typer.Option(
            "--enroll",
            help="Which tracks become gallery entries when they end. off: none. unknown: tracks without a name, as "
            "unknown-0001 and so on. all: also tracks that show a known identity with certainty. A gallery that does "
            "not exist is made, after a question on a terminal.",
        ),
    ] = Enroll.off,
    classes: Annotated[
        str | None,
        typer.Option(
            "--classes",
            help="Names or ids of the classes to track, such as person or 0,2. Default: all. Other detections are "
            "copied unchanged.",
        ),
    ] = None,
    frame_range: Annotated[
        str | None,
        typer.Option(
            "--range",
            metavar="A:B",
            help="Only the frames from A up to, but not including, B, counted from 0. A or B may be omitted.",
        ),
    ] = None,
    save_json: Annotated[
        bool, typer.Option("--save-json", help="Save the tracks as RUN/tracked.json (track-v1).")
    ] = False,
    save_video: Annotated[
        str | None,
        typer.Option("--save-video", help="Save an annotated video as RUN/NAME.", metavar="NAME.mp4"),
    ] = None,
    out_dir: Annotated[
        Path,
        typer.Option(
            "--out-dir",
            envvar="GTRACK_OUT_DIR",
            help="Folder in which the run folder RUN is made. A folder that has files in it is left alone: after "
            "out/clip comes out/clip-2.",
        ),
    ] = Path("out"),
    video_option: Annotated[
        str | None,
        typer.Option("--video", help="The video, as an option instead of the argument.", show_default=False),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print the result as JSON on stdout, one object; of a live source, before it, one object a line for "
            "each frame (as in track-v1).",
        ),
    ] = False,
    no_progress: NoProgress = False,
    save_frames: Annotated[
        bool,
        typer.Option("--save-frames", help="Save annotated frames as RUN/frames/000000.jpg.", rich_help_panel=_SAVING),
    ] = False,
    run_name: Annotated[
        str | None,
        typer.Option(
            "--run-name", help="Name of the run folder. Default: the name of the video.", rich_help_panel=_SAVING
        ),
    ] = None,
    save_fps: Annotated[
        float | None,
        typer.Option(
            "--save-fps",
            help="Frames per second of the saved video. Default: those of the source.",
            rich_help_panel=_SAVING,
        ),
    ] = None,
    fourcc: Annotated[
        str | None,
        typer.Option(
            "--fourcc",
            help="Codec of the saved video, as OpenCV's four-character code, such as MJPG. Default: H.264.",
            metavar="CODE",
            rich_help_panel=_SAVING,
        ),
    ] = None,
    save_crops: Annotated[
        Path | None,
        typer.Option(
            "--save-crops",
            metavar="FOLDER",
            help="Save crops of the tracks as FOLDER/IDENTITY/track-12/000345.jpg, two a second. FOLDER must be new or "
            "empty.",
            rich_help_panel=_SAVING,
        ),
    ] = None,
    display: Annotated[
        bool, typer.Option("--display", help="Show the frames in a window; q ends the run.", rich_help_panel=_SAVING)
    ] = False,
    blur: Annotated[
        BlurChoice | None,
        typer.Option(
            "--blur",
            help="Make people unrecognisable in all pictures of the run. all: all people. unknown: those without a "
            "name. named: those with a name. A person who is not decided yet is blurred in each case.",
            show_default=False,
            rich_help_panel=_PICTURES,
        ),
    ] = None,
    trails: Annotated[
        float,
        typer.Option(
            "--trails",
            metavar="SECONDS",
            help="Show where each track was in the last SECONDS. Default: no trails.",
            show_default=False,
            rich_help_panel=_PICTURES,
        ),
    ] = 0.0,
    line_width: Annotated[
        int | None,
        typer.Option(
            "--line-width",
            metavar="PIXELS",
            help="Width of lines. Default: one that fits the frame.",
            rich_help_panel=_PICTURES,
        ),
    ] = None,
    score_threshold: ScoreThreshold = 0.1,
    nms_iou: NmsIou = None,
    image_size: ImageSize = None,
    batch_size: BatchSize = 1,
    family: Family = "auto",
    class_names: Annotated[
        Path | None,
        typer.Option(
            "--class-names",
            help="A file with one class name a line, for detections without class names.",
            rich_help_panel=DETECTION,
        ),
    ] = None,
    lenient: Annotated[
        bool,
        typer.Option(
            "--lenient",
            help="Ignore unusable detections and count them, instead of refusing the file.",
            rich_help_panel=DETECTION,
        ),
    ] = False,
    save_detections: Annotated[
        Path | None,
        typer.Option(
            "--save-detections",
            metavar="FILE.json",
            help="Also write the detections (det-v1).",
            rich_help_panel=DETECTION,
        ),
    ] = None,
    gallery_match_threshold: Annotated[
        float | None,
        typer.Option(
            "--gallery-match-threshold",
            help="Largest cosine distance at which a name is given (0 to 2); lower is stricter. Default: the threshold "
            "that `gtrack gallery calibrate` stored in the gallery, else 0.25.",
            rich_help_panel=_NAMES,
        ),
    ] = None,
    filter_gallery: Annotated[
        bool,
        typer.Option(
            "--filter-gallery",
            help="Do not write detections of tracked classes that have no name.",
            rich_help_panel=_NAMES,
        ),
    ] = False,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Explain the name of each track: in tracked.json, and as the picture RUN/explain.jpg.",
            rich_help_panel=_NAMES,
        ),
    ] = False,
    reid_frequency: Annotated[
        int,
        typer.Option(
            "--reid-frequency", help="Frames between two observations of a track, on average.", rich_help_panel=_NAMES
        ),
    ] = 10,
    search: Annotated[
        SearchChoice,
        typer.Option(
            "--search",
            help="exact: compare with every entry. auto: the same answers, faster. hnsw: Chroma's index, approximate.",
            rich_help_panel=_NAMES,
        ),
    ] = SearchChoice.auto,
    backfill: Annotated[
        bool | None,
        typer.Option(
            "--backfill/--no-backfill",
            show_default=False,
            help="Also write a name that is decided late on the earlier frames of the track, in a second pass. "
            "Default: with --enroll, on a file.",
            rich_help_panel=_ENROLMENT,
        ),
    ] = None,
    source_id: Annotated[
        str | None,
        typer.Option(
            "--source-id",
            metavar="CAM",
            help="Name of the camera, stored with the entries. Default: the name of the video.",
            rich_help_panel=_ENROLMENT,
        ),
    ] = None,
    grace_frames: Annotated[
        int,
        typer.Option(
            "--grace-frames",
            help="Frames for which a track may be out of sight before it ends.",
            rich_help_panel=_ENROLMENT,
        ),
    ] = 30,
    yes: Annotated[
        bool,
        typer.Option("--yes", "-y", help="Do not ask before --enroll makes a new gallery.", rich_help_panel=_ENROLMENT),
    ] = False,
    tracker: Annotated[
        str,
        typer.Option(
            "--tracker",
            autocompletion=complete_tracker,
            help="gallery_hybrid: track over time, and name the tracks. gallery_only: name each detection by itself.",
            rich_help_panel=_TRACKING,
        ),
    ] = "gallery_hybrid",
    temporal: Annotated[
        str,
        typer.Option(
            "--temporal",
            autocompletion=complete_temporal,
            help="Tracker that links detections over time (see: gtrack list trackers).",
            rich_help_panel=_TRACKING,
        ),
    ] = "botsort_motion",
    temporal_option: Annotated[
        list[str] | None,
        typer.Option(
            "--temporal-option",
            help="NAME=VALUE: an option of the --temporal tracker. Repeatable.",
            rich_help_panel=_TRACKING,
        ),
    ] = None,
    track_thresh: Annotated[
        float | None,
        typer.Option(
            "--track-thresh",
            help="Lowest score that may start a track; weaker detections (above 0.1) may continue one. Default: from "
            "the scores of the detections, or from what is known of the detector.",
            show_default=False,
            rich_help_panel=_TRACKING,
        ),
    ] = None,
    match_thresh: Annotated[
        float,
        typer.Option(
            "--match-thresh",
            help="Highest cost (1 - IoU, fused with the score) that links a detection to a track. Higher values link "
            "more, and risk identity swaps; lower values break tracks.",
            rich_help_panel=_TRACKING,
        ),
    ] = 0.8,
    track_buffer: Annotated[
        int,
        typer.Option(
            "--track-buffer",
            help="How long a lost track can continue, in frames at 30 per second: 30 is one second at any frame rate.",
            rich_help_panel=_TRACKING,
        ),
    ] = 45,
    frame_rate: Annotated[
        int | None,
        typer.Option(
            "--frame-rate",
            help="Frames per second that --track-buffer is scaled to. Default: the video's own.",
            rich_help_panel=_TRACKING,
        ),
    ] = None,
    per_class: Annotated[
        bool, typer.Option("--per-class", help="Track each class by itself.", rich_help_panel=_TRACKING)
    ] = False,
    max_obs: Annotated[
        int, typer.Option("--max-obs", help="Largest number of observations of a track.", rich_help_panel=_TRACKING)
    ] = 30,
    reid_weights: ReidWeights = None,
    models_dir: ModelsDir = Path("models"),
    device: Device = "auto",
    half: Half = False,
    runtime: Runtime = "auto",
    threads: Threads = None,
    download: Download = False,
    trust_weights: TrustWeights = False,
    reconnect_seconds: ReconnectSeconds = 30.0,
    duration: Duration = None,
    max_frames: MaxFrames = None,
    loop: Loop = False,
) -> None:
    """Track a video's detections and name the tracks from a gallery.

    Example: gtrack run clip.mp4 --dets-json clip.json --gallery people --save-json --save-video named.mp4

    Without detections: gtrack run clip.mp4 --detect yolox_nano --classes person --download --gallery people

    After Ctrl-C, the saved files are complete up to the last frame, and --enroll has stored its tracks.
    """
    arguments = dict(locals())  # all options; the inputs are taken out below
    from tracking.errors import OptionError

    for name in ("video", "video_option", "dets_json", "detect", "temporal_option", "no_progress", "yes", "as_json"):
        del arguments[name]
    if video is not None and video_option is not None:
        raise OptionError("the video was given twice, as an argument and with --video.")
    source = video or video_option
    if source is None:
        raise OptionError("no video given.", hint="Example: gtrack run clip.mp4 --dets-json clip.json")
    if dets_json is None and detect is None:
        from tracking.detections.beside import detections_beside

        dets_json = detections_beside(source)
        if dets_json is None:
            raise OptionError(f"no detections given, and none beside {source}.", hint=_detect_hint(source, gallery))
        say(f"detections: {dets_json}")
    if dets_json is not None and detect is not None:
        raise OptionError("expected either --dets-json or --detect, found both.")
    from tracking.classes import read_classes
    from tracking.options import RunOptions, detector_options, parse_range
    from tracking.pipeline import TrackingRun

    arguments |= {
        "classes": read_classes(classes),
        "frame_range": parse_range(frame_range),
        "temporal_options": _temporal_options(temporal_option or []),
        "search": search.value,
        "enroll": enroll.value,
        "blur": None if blur is None else blur.value,
    }
    options = RunOptions.from_arguments(arguments)
    options.validate()
    if gallery is not None and enroll is not Enroll.off:
        announce_new_gallery(gallery, may_ask=not yes)
    offer_downloads(models_dir, download, detector=detect, reid=reid_weights)
    detections = dets_json if detect is None else detector_options(detect, arguments)
    assert detections is not None
    streams = as_json and options.live.live(source)
    job = TrackingRun(detections, source, options, notify=say)
    try:
        result = job.execute_with_bars(enabled=not no_progress, on_frame=_print_frame if streams else None)
    except BaseException as error:
        if job.result is not None and job.result.stats["frames"]:
            how = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
            say(f"{how}; the results below are complete up to the last processed frame.")
            _print(job.result, as_json, complete=False)
        raise
    _print(result, as_json)
