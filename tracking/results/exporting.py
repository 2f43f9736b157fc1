"""Tracks in one or more other formats, in one pass after the timeline."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import orjson

from tracking.errors import OptionError, OutputError
from tracking.results.coco import coco_sink
from tracking.results.mot import ids_path, mot_sink
from tracking.results.numbering import By, Numbering
from tracking.results.plot import PLOT_SUFFIXES, plot_timeline
from tracking.results.reading import Source, TrackReader, read_tracks
from tracking.results.report import MAX_THUMBNAILS, report_sink
from tracking.results.sinks import Exported, Sink, whole_file
from tracking.results.tables import csv_sink, parquet_sink
from tracking.results.timelines import Timeline, timeline
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
"""Format to the suffixes that stand for it. A timeline is also written as .json, when asked for by its name."""

Progress = Callable[[int, "int | None"], None]


def format_of(path: Path, wanted: str | None = None) -> str:
    """The format of an output: the one that is wanted, else the one that its suffix stands for.

    Raises:
        OptionError: No such format, or a suffix that stands for none.
    """
    suffix = path.suffix.lower()
    if wanted is not None:
        if wanted not in FORMATS:
            raise OptionError(f"unknown format {wanted!r}; expected one of {', '.join(FORMATS)}.")
        if wanted == "timeline" and suffix not in (*PLOT_SUFFIXES, ".json"):
            raise OptionError(f"a timeline is written as {', '.join(PLOT_SUFFIXES)} or .json, got {str(path)!r}.")
        return wanted
    for name, suffixes in FORMATS.items():
        if suffix in suffixes:
            return name
    known = ", ".join(f"{'/'.join(suffixes)} ({name})" for name, suffixes in FORMATS.items())
    raise OptionError(
        f"{str(path)!r}: the suffix names no format.", hint=f"Use one of {known}, or name the format with --format."
    )


def export_tracks(
    source: Source,
    outputs: str | Path | Sequence[str | Path],
    *,
    format: str | None = None,
    by: By | None = None,
    classes: Collection[int] | None = None,
    untracked: bool = False,
    video: str | Path | None = None,
    thumbnails: int = MAX_THUMBNAILS,
    progress: Progress | None = None,
    video_progress: Progress | None = None,
) -> tuple[Exported, ...]:
    """Write tracks in other formats. Each file is whole, or is not there.

    The document is gone through twice, whatever the number of outputs: once for its timeline, once to write.

    Args:
        source: What `read_tracks` takes.
        outputs: The files; the suffix of each chooses its format.
        format: One of `FORMATS`, for all outputs, in place of what the suffixes say.
        by: What the ids of ``mot`` and ``coco-vid`` stand for: ``track_id``, or ``gallery_id``. See
            `tracking.results.numbering.Numbering`. None for tracks where there are tracks.
        classes: Only detections of these class ids; None for all.
        untracked: In tables, also the detections that no track took.
        video: The video, for the pictures of ``html``.
        thumbnails: Pictures in ``html`` at most.
        progress: Called with (frames done, total or None), over both passes.
        video_progress: Called with (frames of the video done, frames to go through).

    Returns:
        What was written, output by output.

    Raises:
        TracksError: See `read_tracks` and `TrackReader`.
        OptionError: No such format, or two outputs of one name.
        OutputError: A file cannot be written there, or would replace the input.
        VideoError: The video cannot be opened, or has another size.
    """
    paths = [Path(outputs)] if isinstance(outputs, (str, Path)) else [Path(path) for path in outputs]
    kinds = [format_of(path, format) for path in paths]
    if not paths:
        raise OptionError("no output given.")
    if by not in (None, "track_id", "gallery_id"):
        raise OptionError(f"by must be track_id or gallery_id, got {by!r}.")
    reader = read_tracks(source, classes=classes)
    _check(paths, kinds, reader, None if video is None else Path(video))
    first, second = _halves(progress)
    story = timeline(reader, progress=first)
    if by is not None:
        # A wrong choice is told before anything is opened.
        Numbering(story, by)

    def sink(path: Path, kind: str) -> AbstractContextManager[Sink]:
        if kind == "mot":
            return mot_sink(path, story, by=by)
        if kind == "coco-vid":
            return coco_sink(path, story, by=by)
        if kind == "csv":
            return csv_sink(path, story, untracked=untracked)
        if kind == "parquet":
            return parquet_sink(path, story, untracked=untracked)
        if kind == "timeline":
            return _timeline_sink(path, story)
        place = None if video is None else Path(video)
        return report_sink(path, story, size=reader.size, video=place, thumbnails=thumbnails, progress=video_progress)

    with ExitStack() as stack:
        sinks = [stack.enter_context(sink(path, kind)) for path, kind in zip(paths, kinds, strict=True)]
        if any(kind != "timeline" for kind in kinds):
            for done, frame in enumerate(reader, 1):
                for target in sinks:
                    target.write(frame)
                if second is not None:
                    second(done, story.frames)
    return tuple(target.exported for target in sinks)


def _check(paths: Sequence[Path], kinds: Sequence[str], reader: TrackReader, video: Path | None) -> None:
    taken: dict[Path, Path] = {}
    inputs = {path.resolve(): what for path, what in ((reader.path, "tracks"), (video, "video")) if path is not None}
    for path, kind in zip(paths, kinds, strict=True):
        for written in [path, ids_path(path)] if kind == "mot" else [path]:
            place = written.resolve()
            if place in inputs:
                raise OutputError(f"{written} is the {inputs[place]} that would be read.", hint="Give another name.")
            if place in taken:
                raise OptionError(f"{written} would be written twice.", hint="Give each output a name of its own.")
            taken[place] = path


def _halves(progress: Progress | None) -> tuple[Progress | None, Progress | None]:
    """The two passes as one: a bar that fills once."""
    if progress is None:
        return None, None
    report = progress
    before = 0

    def first(done: int, total: int | None) -> None:
        nonlocal before
        before = done
        # A bar that is full is taken down; the second pass is still to come.
        report(done, None if total is None else 2 * max(total, done))

    def second(done: int, total: int | None) -> None:
        report(before + done, before + (total or done))

    return first, second


class _TimelineSink:
    """Needs no frames: the timeline is there."""

    def __init__(self, exported: Exported) -> None:
        self.exported = exported

    def write(self, frame: TrackFrame) -> None:
        """Take one frame."""


@contextmanager
def _timeline_sink(path: Path, story: Timeline) -> Iterator[_TimelineSink]:
    sink = _TimelineSink(Exported(path, "timeline", len(story.presences)))
    yield sink
    if path.suffix.lower() in PLOT_SUFFIXES:
        sink.exported = plot_timeline(story, path)
        return
    with whole_file(path) as part:
        part.write_bytes(orjson.dumps(story.as_dict(), option=orjson.OPT_INDENT_2) + b"\n")
