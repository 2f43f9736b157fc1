"""A whole run as one call: `track_video`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gallery_db.search.nearest import Search
from tracking.classes import Classes
from tracking.detections.source import DetectionSource
from tracking.detectors.base import Detector, DetectorOptions
from tracking.enrolment.base import EnrolMode
from tracking.errors import OptionError
from tracking.options import RunOptions, detector_options
from tracking.outputs.blur import Blur
from tracking.outputs.result import TrackResult
from tracking.pipeline import DetectionInput, TrackingRun
from tracking.trackers.temporal import DEFAULT_TEMPORAL
from tracking.video.live import LiveOptions

__all__ = ["track_video"]


def track_video(
    *,
    dets_json: str | Path | Mapping[str, Any] | DetectionSource | Iterable[Any] | None = None,
    video: str | Path,
    tracker: str = "gallery_hybrid",
    classes: Classes | None = None,
    filter_gallery: bool = False,
    track_thresh: float | None = None,
    match_thresh: float = 0.8,
    track_buffer: int = 45,
    frame_rate: int | None = None,
    per_class: bool = False,
    max_obs: int = 30,
    reid_weights: str | Path | None = None,
    gallery: str | Path | None = None,
    reid_frequency: int = 10,
    gallery_match_threshold: float | None = None,
    search: Search = "auto",
    device: str = "auto",
    half: bool = False,
    models_dir: str | Path = "models",
    save_json_flag: bool = False,
    save_frames: bool = False,
    save_video: str | None = None,
    out_dir: str | Path = "out",
    run_name: str | None = None,
    display: bool = False,
    save_fps: float | None = None,
    fourcc: str | None = None,
    class_names: str | Path | Mapping[int, str] | Sequence[str] | None = None,
    no_progress: bool = False,
    temporal: str = DEFAULT_TEMPORAL,
    temporal_options: Mapping[str, Any] | None = None,
    frame_range: tuple[int | None, int | None] = (None, None),
    lenient: bool = False,
    runtime: str = "auto",
    threads: int | None = None,
    download: bool = False,
    enroll: EnrolMode = "off",
    source_id: str | None = None,
    grace_frames: int = 30,
    backfill: bool | None = None,
    detect: str | Path | DetectorOptions | Detector | None = None,
    save_detections: str | Path | None = None,
    live: LiveOptions | None = None,
    explain: bool = False,
    trust_weights: bool = False,
    save_crops: str | Path | None = None,
    trails: float = 0.0,
    blur: Blur | None = None,
    line_width: int | None = None,
    notify: Callable[[str], None] | None = None,
) -> TrackResult:
    """Track the detections of a video and name the tracks from a gallery.

    Writes nothing unless a saving argument or `enroll` asks for it. Either `dets_json` or `detect` is needed.

    Args:
        dets_json: det-v1 detections: a file, its parsed document, or an open `DetectionSource`. Or an iterable with
            one item a frame: arrays (N, 5 or 6) of x1, y1, x2, y2, score, class id; supervision's ``Detections``;
            Ultralytics' ``Results``; None.
        video: The video that they were made from; with `detect` also a camera's index (``"0"``), or the address of a
            stream.
        tracker: ``gallery_hybrid`` (association over time, names from several observations of each
            track) or ``gallery_only`` (every detection by itself).
        classes: Ids or names of the classes to track, None for all; others pass through unchanged.
        filter_gallery: Do not write detections of tracked classes that have no name.
        track_thresh: Score from which a detection may start a track; None for one that follows from the detector's
            scores.
        match_thresh: Highest association cost that still links a detection to a track; higher accepts more.
        track_buffer: How long a lost track can continue, in frames at 30 per second: 30 is one second at any frame
            rate.
        frame_rate: Frames per second that ``track_buffer`` is scaled to. Default: the video's own.
        per_class: Track each class on its own.
        max_obs: Largest number of observations of a track.
        reid_weights: A weights file, a name, or ``builtin``; None for the gallery's own model.
        gallery: A gtrack gallery, the address of a served one (``http://HOST:PORT``), or a tree of image folders; None
            to track without names.
        reid_frequency: Frames between two observations of a track, on average.
        gallery_match_threshold: Largest cosine distance at which a name is given, in [0, 2]; None for the
            calibrated threshold of the gallery (see `gtrack gallery calibrate`), else 0.25.
        search: How the gallery is searched: ``exact`` compares with every entry, ``auto`` gives the same answers
            sooner, ``hnsw`` asks Chroma's index, approximately.
        device: ``auto``, ``cpu``, ``cuda``, ``tensorrt``, ``mps`` or a CUDA index.
        half: FP16 where the device has it.
        models_dir: Folder in which names of weights are looked up first.
        save_json_flag: Save ``tracked.json``.
        save_frames: Save annotated frames.
        save_video: File name of the annotated video inside the run folder.
        out_dir: Root of run folders.
        run_name: Name of the run folder; the video's stem if None.
        display: Show a live window.
        save_fps: Frames per second of the saved video.
        fourcc: Codec of the saved video, as a four-character code of OpenCV's; H.264 if None.
        class_names: Names by class id, for detections without one: a mapping, a list, or a file.
        no_progress: No progress bar.
        temporal: The temporal tracker of ``gallery_hybrid``.
        temporal_options: Further options of that tracker, under their names in its package.
        frame_range: First frame and the one after the last.
        lenient: Leave unusable detections out, counted, instead of refusing the file.
        runtime: ``auto``, or ``torch`` to run ``.pt`` weights in torch on a CPU too.
        threads: CPU threads of the ReID model.
        download: Allow published models that `detect` and `reid_weights` name to be downloaded.
        enroll: Which tracks to enrol after they have ended: none (``off``), those without a name (``unknown``), or
            sure matches of named identities as well (``all``). The gallery is created if there is none, and no other
            process may write to it meanwhile.
        source_id: The camera that enrolled tracks are of; the video's stem if None.
        grace_frames: Frames that a track may be out of sight before it has ended.
        backfill: Write the final names on the earlier frames of each track too, in a second pass. None: where tracks of
            a file are enrolled, so that every name that the run gives is in the gallery.
        detect: Detect in the same pass: ``builtin``, a ``.onnx`` or ``.pt`` file, the name of a published model,
            options that name one, or a `Detector` of your own. With a file, `classes` limits what it finds as well,
            and `device`, `half`, `threads` and `models_dir` hold for it too.
        save_detections: Also write the detections of `detect` to this det-v1 file.
        live: How a camera or a stream is read, and when the run ends.
        explain: Explain each decision, in ``tracked.json`` and as ``explain.jpg``; needs a saving argument.
        trust_weights: Whether the files that `reid_weights` and `detect` name may run code, as TorchScript, TensorRT
            engines and Ultralytics' ``.pt`` files can. It is remembered for those files.
        save_crops: Folder for crops of the tracks, absent or empty: ``IDENTITY/track-12/000345.jpg``, two a second.
        trails: Seconds for which annotated frames show where a track was; 0 for none.
        blur: Whose boxes are made unrecognisable in all pictures of the run: of all people (``all``), of those without
            a name (``unknown``), or with one (``named``). A person who is not decided yet is blurred in each case.
        line_width: Width of the lines in annotated frames in pixels; None for one that fits the frame.
        notify: Takes one-line messages for the user; they are dropped if None.

    Returns:
        The track-v1 payload, the paths of the outputs, the run's figures, and the sightings of each identity.

    Raises:
        GtrackError: Any leaf of the tree in `gallery_db.errors`.
        KeyboardInterrupt: Ctrl-C, after the outputs of the frames done are complete.
    """
    arguments = dict(locals())  # what shapes the run; the inputs are taken out below
    for name in ("dets_json", "detect", "video", "no_progress", "notify"):
        del arguments[name]
    arguments["save_json"] = arguments.pop("save_json_flag")
    arguments["temporal_options"] = temporal_options or {}
    arguments["live"] = live or LiveOptions()
    if (dets_json is None) == (detect is None):
        raise OptionError("expected either detections (`dets_json`) or a detector (`detect`), and not both.")
    detections: DetectionInput
    if isinstance(detect, (str, Path)):
        detections = detector_options(detect, arguments)
    elif detect is not None:
        detections = detect
    else:
        assert dets_json is not None
        detections = dets_json
    run = TrackingRun(detections, video, RunOptions.from_arguments(arguments), notify=notify)
    return run.execute_with_bars(enabled=not no_progress)
