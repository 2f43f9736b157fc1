"""Reading of track-v1, frame by frame, in memory that does not grow with the video."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from tracking.classes import COCO_NAMES, unknown_class
from tracking.errors import TracksError
from tracking.json_stream import show
from tracking.outputs.result import TrackResult
from tracking.results.header import mapping_or_empty, positive_number, run_fps, tracker_config
from tracking.results.track_document import TrackDocument, TrackFile, TrackMapping
from tracking.results.track_frame import FrameParser, TrackFrame

__all__ = ["Source", "TrackReader", "read_tracks"]


class TrackReader:
    """A track-v1 document, an iterable of `TrackFrame`s that may be iterated over repeatedly. Made by `read_tracks`.

    Iteration raises `TracksError` where the document is not track-v1: a frame or a detection that cannot be used, frame
    numbers that do not ascend, a file that ends too early.

    Attributes:
        name: Its name in messages: the file's path.
        path: The file; None for a document in memory.
        header: Every top-level key but ``frames``.
    """

    def __init__(self, document: TrackDocument, classes: Collection[int | str] | None) -> None:
        self._document = document
        self._parser = FrameParser(document.fail, classes)
        self._classes = classes
        self.name = document.name
        self.path = document.path
        self.header = document.header

    def of_classes(self, classes: Collection[int | str]) -> TrackReader:
        """Return a reader of the same document that yields only detections of these classes."""
        return TrackReader(self._document, classes)

    @property
    def video(self) -> Mapping[str, Any]:
        """The header's description of the video: any of path, fps, frame_count, width, height."""
        return mapping_or_empty(self.header.get("video"))

    @property
    def tracker(self) -> Mapping[str, Any]:
        """The header's description of the tracker: name, class_filter, config."""
        return mapping_or_empty(self.header.get("tracker"))

    @property
    def config(self) -> Mapping[str, Any]:
        """The tracker's settings."""
        return tracker_config(self.header)

    @property
    def fps(self) -> float | None:
        """Frames per second of the video; see `tracking.results.header.run_fps`. None where unknown."""
        return run_fps(self.header)

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of the video in pixels, None where the header has none."""
        width, height = positive_number(self.video.get("width")), positive_number(self.video.get("height"))
        return None if width is None or height is None else (round(width), round(height))

    @property
    def frame_count(self) -> int | None:
        """Number of frames of the video, None where the header has none."""
        count = positive_number(self.video.get("frame_count"))
        return None if count is None else round(count)

    @property
    def has_tracks(self) -> bool:
        """Whether a track id means the same from frame to frame (it does not with `gallery_only`)."""
        return self.tracker.get("name") != "gallery_only"

    def __iter__(self) -> Iterator[TrackFrame]:
        last = -1
        for entry, place in self._document.entries():
            frame = self._parser.parse(entry, place)
            if frame.frame <= last:
                found = "a second entry for it" if frame.frame == last else f"it after frame {last}"
                self._document.fail(f"frame {frame.frame}: expected frames in ascending order, found {found}")
            last = frame.frame
            yield frame
        known = {name.casefold() for name in (*self._parser.class_names.values(), *COCO_NAMES)}
        for one in self._classes or ():
            if isinstance(one, str) and one.casefold() not in known:
                raise unknown_class(one, self._parser.class_names, self.name)


Source = str | os.PathLike[str] | Mapping[str, Any] | TrackResult | TrackReader
"""A source of tracks: a track-v1 file, a document in memory, the result of a run, or an open reader."""


def read_tracks(source: Source, *, classes: Collection[int | str] | None = None) -> TrackReader:
    """Open the tracks of a run.

    The header is read at once. Frames are read and checked one by one while the reader is iterated over; none is kept.
    As in the schema, ``frame_index`` is accepted for ``frame`` and ``xyxy`` for ``bbox``.

    Args:
        source: A track-v1 file (``tracked.json``), a document in memory, or the result of `tracking.track_video`.
        classes: Only detections of these classes, by id or name; None for all.

    Raises:
        TracksError: Not a readable track-v1 document; names the file, and what was expected there.
    """
    if isinstance(source, TrackReader):
        return source if classes is None else source.of_classes(classes)
    if isinstance(source, TrackResult):
        path = source.paths.json_path
        if path is None:
            return TrackReader(TrackMapping("the result", source.payload), classes)
        source = path
    if isinstance(source, Mapping):
        return TrackReader(TrackMapping("the tracks in memory", source), classes)
    if not isinstance(source, (str, os.PathLike)):
        raise TracksError(f"expected a track-v1 file or document, found {show(source)}.")
    path = Path(source)
    if path.exists() and not path.is_file() and not path.is_dir():
        raise TracksError(
            f"{path}: expected a regular file, because it is read more than once.",
            hint="Write the tracks to a file first.",
        )
    return TrackReader(TrackFile(path), classes)
