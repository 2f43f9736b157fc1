"""`gtrack detect`: the detections of a video, to be used by any number of runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.completion import complete_detector
from cli.downloads import offer_downloads
from cli.options import (
    DETECTORS,
    AsJson,
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
    ScoreThreshold,
    Threads,
    TrustWeights,
)
from cli.output import print_json, print_line, say

if TYPE_CHECKING:
    from tracking.detection_run import DetectResult

__all__ = ["detect"]


def _print_result(result: DetectResult, *, as_json: bool, complete: bool = True) -> None:
    """Print the number of detections, the time spent, and the file, on stdout."""
    if as_json:
        print_json(
            {
                "complete": complete,
                "path": None if result.path is None else str(result.path),
                "frames": result.frames,
                "detections": sum(result.detections.values()),
                "classes": [
                    {"id": kind, "name": result.class_names.get(kind), "detections": count}
                    for kind, count in result.detections.items()
                ],
                "seconds": round(result.seconds, 3),
                "cpu_seconds": dict(result.cpu_seconds),
                "dropped": result.dropped,
                "reconnects": result.reconnects,
            }
        )
        return
    kinds = sorted(result.detections.items(), key=lambda kind: -kind[1])
    found = ", ".join(f"{count} {result.class_names.get(kind, f'class {kind}')}" for kind, count in kinds[:5])
    more = f", {sum(count for _, count in kinds[5:])} others" if len(kinds) > 5 else ""
    speed = result.frames / result.seconds if result.seconds > 0 else 0.0
    print_line(
        f"{result.frames} frames, {sum(result.detections.values())} detections ({found or 'none'}{more}); "
        f"{result.seconds:.1f} s, {speed:.1f} frames/s"
    )
    if result.dropped or result.reconnects:
        print_line(f"live: {result.dropped} frames dropped, {result.reconnects} reconnects")
    total = sum(result.cpu_seconds.values())
    if total > 0:
        shares = ", ".join(f"{name} {100 * cost / total:.0f}%" for name, cost in result.cpu_seconds.items())
        print_line(f"CPU time: {total:.1f} s ({shares})")
    if result.path is not None:
        print_line(f"detections: {result.path}")


def detect(
    video: Annotated[str, typer.Argument(help="A video file, the index of a camera, or the address of a stream.")],
    weights: Annotated[
        str,
        typer.Option(
            "--weights",
            autocompletion=complete_detector,
            metavar="WEIGHTS",
            help=f"The detector: {DETECTORS}.",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE.json", help="The file to write (det-v1).")],
    frame_range: Annotated[
        str | None,
        typer.Option(
            "--range",
            metavar="A:B",
            help="Only the frames from A up to, but not including, B, counted from 0. A or B may be omitted.",
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option("--classes", help="Names or ids of the classes to detect, such as person or 0,2. Default: all."),
    ] = None,
    class_names: Annotated[
        Path | None,
        typer.Option("--class-names", help="A file with one class name a line, for a model without names."),
    ] = None,
    score_threshold: ScoreThreshold = 0.1,
    nms_iou: NmsIou = None,
    image_size: ImageSize = None,
    batch_size: BatchSize = 1,
    family: Family = "auto",
    device: Device = "auto",
    half: Half = False,
    threads: Threads = None,
    models_dir: ModelsDir = Path("models"),
    download: Download = False,
    trust_weights: TrustWeights = False,
    reconnect_seconds: ReconnectSeconds = 30.0,
    duration: Duration = None,
    max_frames: MaxFrames = None,
    loop: Loop = False,
    as_json: AsJson = False,
    no_progress: NoProgress = False,
) -> None:
    """Detect people and other objects in a video, for `gtrack run --dets-json`.

    Example: gtrack detect clip.mp4 --weights yolox_nano --download --classes person -o clip.json

    After Ctrl-C, the file is complete up to the last frame, and its note says where the run ended.
    """
    from tracking.classes import read_classes
    from tracking.detection_run import DetectionRun
    from tracking.detectors import DetectorOptions
    from tracking.options import parse_range, read_class_names
    from tracking.progress import progress_bar
    from tracking.video.live import LiveOptions

    options = DetectorOptions(
        weights=weights,
        score_threshold=score_threshold,
        nms_iou=nms_iou,
        classes=read_classes(classes),
        device=device,
        half=half,
        batch_size=batch_size,
        image_size=image_size,
        threads=threads,
        family=family,  # type: ignore[arg-type]  # DetectorOptions.validate
        class_names=read_class_names(class_names),
        models_dir=models_dir,
        trust_weights=trust_weights,
        download=download,
    )
    offer_downloads(models_dir, download, detector=weights)
    job = DetectionRun(
        video,
        options,
        output,
        frame_range=parse_range(frame_range),
        live=LiveOptions(reconnect_seconds=reconnect_seconds, duration=duration, max_frames=max_frames, loop=loop),
        notify=say,
    )
    try:
        with progress_bar("detecting", "frames", enabled=not no_progress) as progress:
            result = job.execute(progress=progress)
    except BaseException as error:
        if job.result is not None and job.result.frames:
            how = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
            say(f"{how}; the results below are complete up to the last processed frame.")
            _print_result(job.result, as_json=as_json, complete=False)
        raise
    _print_result(result, as_json=as_json)
