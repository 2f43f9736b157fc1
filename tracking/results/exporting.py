"""Export of tracks to one or more formats, in one pass after that for the timeline."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from os.path import realpath
from pathlib import Path

import orjson

from tracking.errors import OptionError, OutputError
from tracking.results.coco import coco_sink
from tracking.results.mot import ids_path, mot_sink
from tracking.results.numbering import By, Numbering
from tracking.results.reading import Source, TrackReader, read_tracks
from tracking.results.report import MAX_THUMBNAILS, report_sink
from tracking.results.run_video import find_run_video
from tracking.results.sinks import ExportedFile, Sink, atomic_output
from tracking.results.tables import csv_sink, parquet_sink
from tracking.results.timeline import Timeline
from tracking.results.timeline_builder import build_timeline
from tracking.results.timeline_plot import PLOT_SUFFIXES, plot_timeline
from tracking.results.track_frame import TrackFrame

__all__ = ["FORMATS", "export_tracks", "format_of"]

FORMATS = {
    "mot": (".txt",),
    "coco-vid": (".json",),
    "csv": (".csv",),
    "parquet": (".parquet",),
    "timeline": PLOT_SUFFIXES,
    "html": (".html", ".htm"),
}
"""Formats, and the suffixes that select them. With format ``timeline``, the suffix may also be .json."""

Progress = Callable[[int, "int | None"], None]


def format_of(path: Path, wanted: str | None = None) -> str:
    """Return the format of an output: the one that is wanted, else the one that its suffix selects.

    Raises:
        OptionError: There is no such format, or the suffix selects none.
    """
    suffix = path.suffix.lower()
    if wanted is not None:
        if wanted not in FORMATS:
            raise OptionError(f"unknown format {wanted!r}; expected one of {', '.join(FORMATS)}.")
        if wanted == "timeline" and suffix not in (*PLOT_SUFFIXES, ".json"):
            raise OptionError(f"a timeline is written as {', '.join(PLOT_SUFFIXES)} or .json, found {str(path)!r}.")
        return wanted
    for name, suffixes in FORMATS.items():
        if suffix in suffixes:
            return name
    known = ", ".join(f"{'/'.join(suffixes)} ({name})" for name, suffixes in FORMATS.items())
    raise OptionError(
        f"{str(path)!r}: the suffix selects no format.",
        hint=f"Use one of {known}, or give `format`.",
    )


def export_tracks(
    source: Source,
    outputs: str | Path | Sequence[str | Path],
    *,
    format: str | None = None,
    by: By | None = None,
    classes: Collection[int | str] | None = None,
    untracked: bool = False,
    video: str | Path | None = None,
    thumbnails: int = MAX_THUMBNAILS,
    progress: Progress | None = None,
    video_progress: Progress | None = None,
) -> tuple[ExportedFile, ...]:
    """Export tracks to other formats. If an error is raised, no file is written or replaced.

    The document is read twice, whatever the number of outputs: once for its timeline, once to write.

    Args:
        source: See `read_tracks`.
        outputs: The files; the suffix of each selects its format.
        format: One of `FORMATS`, for all outputs, whatever their suffixes.
        by: The objects that the ids of ``mot`` and ``coco-vid`` number: ``track_id`` or ``gallery_id``. See
            `tracking.results.numbering.Numbering`. None for tracks where there are tracks.
        classes: Only detections of these classes, by id or name; None for all.
        untracked: Also write the detections without a track, in tables.
        video: The video, for the crops of ``html``; None for the one that the run read, where it is found (see
            `tracking.results.run_video.find_run_video`). Where it is not, `ExportedFile.notes` say why.
        thumbnails: Number of crops in ``html`` at most.
        progress: Called with (frames done, total or None), over both passes.
        video_progress: Called with (frames of the video done, frames to read).

    Returns:
        The written file of each output.

    Raises:
        TracksError: See `read_tracks` and `TrackReader`.
        OptionError: There is no such format, or two outputs have the same name.
        OutputError: A file cannot be written there, or would replace the input.
        VideoError: The video cannot be opened, or has another size.
    """
    paths = [Path(outputs)] if isinstance(outputs, (str, Path)) else [Path(path) for path in outputs]
    formats = [format_of(path, format) for path in paths]
    if not paths:
        raise OptionError("no output was given.", hint="Give the name of a file to write.")
    if by not in (None, "track_id", "gallery_id"):
        raise OptionError(f"by must be track_id or gallery_id, found {by!r}.")
    reader = read_tracks(source, classes=classes)
    video_path = None if video is None else Path(video)
    missing = ""
    if video is None and thumbnails and "html" in formats:
        video_path, missing = find_run_video(reader)
    _check_outputs(paths, formats, reader, video_path)
    first_pass, second_pass = _progress_of_passes(progress)
    timeline = build_timeline(reader, progress=first_pass)
    if by is not None:
        # Raises an error for a wrong choice before any file is opened.
        Numbering(timeline, by)

    def open_sink(path: Path, kind: str) -> AbstractContextManager[Sink]:
        if kind == "mot":
            return mot_sink(path, timeline, by=by)
        if kind == "coco-vid":
            return coco_sink(path, timeline, by=by)
        if kind == "csv":
            return csv_sink(path, timeline, untracked=untracked)
        if kind == "parquet":
            return parquet_sink(path, timeline, untracked=untracked)
        if kind == "timeline":
            return _timeline_sink(path, timeline)
        return report_sink(
            path, timeline, size=reader.size, video=video_path, thumbnails=thumbnails, progress=video_progress
        )

    with ExitStack() as stack:
        sinks = [stack.enter_context(open_sink(path, kind)) for path, kind in zip(paths, formats, strict=True)]
        if any(kind != "timeline" for kind in formats):
            for done, frame in enumerate(reader, 1):
                for sink in sinks:
                    sink.write(frame)
                if second_pass is not None:
                    second_pass(done, timeline.frames)
    note = f"the report has no images: {missing} To have them, give the video with `video`."
    return tuple(
        replace(sink.exported, notes=(*sink.exported.notes, note)) if missing and kind == "html" else sink.exported
        for sink, kind in zip(sinks, formats, strict=True)
    )


def _check_outputs(paths: Sequence[Path], formats: Sequence[str], reader: TrackReader, video: Path | None) -> None:
    """Raise an error if an output would replace an input or another output."""
    outputs: set[str] = set()
    # Not Path.resolve, which raises RuntimeError for a symlink loop before Python 3.13.
    inputs = {realpath(path): role for path, role in ((reader.path, "tracks"), (video, "video")) if path is not None}
    for path, kind in zip(paths, formats, strict=True):
        for written in [path, ids_path(path)] if kind == "mot" else [path]:
            resolved = realpath(written)
            if resolved in inputs:
                raise OutputError(
                    f"the output {written} is the file of the {inputs[resolved]} to read.", hint="Give another name."
                )
            if resolved in outputs:
                raise OptionError(f"{written} would be written twice.", hint="Give each output its own name.")
            outputs.add(resolved)


def _progress_of_passes(progress: Progress | None) -> tuple[Progress | None, Progress | None]:
    """Return callbacks for the two passes that report them as one, so that a progress bar fills once."""
    if progress is None:
        return None, None
    report = progress
    frames = 0

    def first_pass(done: int, total: int | None) -> None:
        nonlocal frames
        frames = done
        # A full bar would be removed, and the second pass is still to come.
        report(done, None if total is None else 2 * max(total, done))

    def second_pass(done: int, total: int | None) -> None:
        report(frames + done, frames + (total or done))

    return first_pass, second_pass


class _TimelineSink:
    """Ignores the frames: the timeline is complete."""

    def __init__(self, exported: ExportedFile) -> None:
        self.exported = exported

    def write(self, frame: TrackFrame) -> None:
        """Ignore the frame."""


@contextmanager
def _timeline_sink(path: Path, timeline: Timeline) -> Iterator[_TimelineSink]:
    sink = _TimelineSink(ExportedFile(path, "timeline", len(timeline.rows)))
    yield sink
    if path.suffix.lower() in PLOT_SUFFIXES:
        sink.exported = plot_timeline(timeline, path)
        return
    with atomic_output(path) as temporary:
        temporary.write_bytes(orjson.dumps(timeline.as_dict(), option=orjson.OPT_INDENT_2) + b"\n")
