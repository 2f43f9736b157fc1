"""Reading track-v1, frame by frame, in memory that does not grow with the video."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from tracking.errors import TracksError
from tracking.json_stream import JsonStream, JsonStreamError, show
from tracking.outputs.result import TrackResult

__all__ = ["Source", "TrackFrame", "TrackReader", "read_tracks", "run_fps", "run_video", "video_name"]

_CHUNK_BYTES = 1 << 20
_MAX_FRAME = 2**31 - 1
_AGAIN = "Make the file again with gtrack run --json."
_JSON_HINTS = {
    "empty": _AGAIN,
    "cut": "The run was killed, or the file is still being copied; make or copy it again.",
    "gzip": "Decompress it first.",
    "binary": "Give tracked.json of gtrack run --json.",
    "syntax": _AGAIN,
    "value": _AGAIN,
}
_EARLY = ("schema_version", "video", "tracker")
"""Keys that everybody asks the header for; gtrack writes them before the frames."""


@dataclass(frozen=True, slots=True, eq=False)
class TrackFrame:
    """One frame of track-v1 as parallel arrays, in the order of the file.

    Attributes:
        frame: 0-based frame number.
        file: Name of the frame's picture, if the detector gave one.
        boxes: (N, 4) float64, xyxy in pixels, finite, x2 >= x1, y2 >= y1.
        scores: (N,) float64; NaN where there is none.
        class_ids: (N,) int64; -1 where there is none.
        class_names: N names; None where there is none.
        det_inds: (N,) int64; the place in the list where the file has none.
        track_ids: N ids; None for a detection that no track took.
        gallery_ids: N identities; None where nobody is known.
        distances: (N,) float64 cosine distance to the identity; NaN where there is none.
    """

    frame: int
    file: str | None
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    class_ids: NDArray[np.int64]
    class_names: tuple[str | None, ...]
    det_inds: NDArray[np.int64]
    track_ids: tuple[str | None, ...]
    gallery_ids: tuple[str | None, ...]
    distances: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.track_ids)

    @property
    def tracked(self) -> list[int]:
        """Rows of the detections that a track took."""
        return [row for row, track_id in enumerate(self.track_ids) if track_id is not None]


class TrackReader:
    """A track-v1 document, to be iterated over as `TrackFrame`s, as often as wanted. Made by `read_tracks`.

    Iterating raises `TracksError` at what is no track-v1: a frame or a detection that cannot be used, frame
    numbers that do not ascend, a file that ends too early.

    Attributes:
        name: What messages call it: the file's path.
        path: The file; None for a document in memory.
        header: Every top-level key but ``frames``.
    """

    def __init__(
        self, name: str, path: Path | None, payload: Mapping[str, Any] | None, classes: Collection[int] | None
    ) -> None:
        self.name = name
        self.path = path
        self._payload = payload
        self._classes = None if classes is None else frozenset(classes)
        self.header: dict[str, Any] = self._read_header()
        self._check_header()

    @property
    def video(self) -> Mapping[str, Any]:
        """What the header says of the video: any of path, fps, frame_count, width, height."""
        return _mapping(self.header.get("video"))

    @property
    def tracker(self) -> Mapping[str, Any]:
        """What the header says of the tracker: name, class_filter, config."""
        return _mapping(self.header.get("tracker"))

    @property
    def config(self) -> Mapping[str, Any]:
        """The tracker's settings."""
        return _config(self.header)

    @property
    def fps(self) -> float | None:
        """Frames per second of the video that the run read, else as the detections say; None where neither is known."""
        return run_fps(self.header)

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of the video in pixels, None where the header does not say."""
        width, height = _positive(self.video.get("width")), _positive(self.video.get("height"))
        return None if width is None or height is None else (round(width), round(height))

    @property
    def frame_count(self) -> int | None:
        """Frames of the video as the header says, None where it does not."""
        count = _positive(self.video.get("frame_count"))
        return None if count is None else round(count)

    @property
    def has_tracks(self) -> bool:
        """Whether a track id means the same from frame to frame (it does not with `gallery_only`)."""
        return self.tracker.get("name") != "gallery_only"

    def __iter__(self) -> Iterator[TrackFrame]:
        last = -1
        for entry, place in self._entries():
            frame = self._frame(entry, place)
            if frame.frame <= last:
                what = "a second entry for it" if frame.frame == last else f"it after frame {last}"
                self._fail(f"frame {frame.frame}: expected frames in ascending order, found {what}", _AGAIN)
            last = frame.frame
            yield frame

    def _fail(self, problem: str, hint: str | None = None) -> NoReturn:
        raise TracksError(f"{self.name}: {problem}.", hint=hint)

    def _read_header(self) -> dict[str, Any]:
        if self._payload is not None:
            return {str(key): value for key, value in self._payload.items() if key != "frames"}
        header: dict[str, Any] = {}
        for key, value in self._members(header):
            if key != "frames":
                header[key] = value
                if key == "schema_version":
                    # Before anything else is complained about.
                    self._check_version(value)
            elif all(wanted in header for wanted in _EARLY):
                break
        return header

    def _check_version(self, version: Any) -> None:
        if version == "track-v1":
            return
        if version == "det-v1":
            self._fail("these are detections (det-v1), not tracks", "Make tracks of them with gtrack run --json.")
        self._fail(
            f"expected schema_version 'track-v1', found {'none' if version is None else show(version)}",
            "Give tracked.json of gtrack run --json.",
        )

    def _check_header(self) -> None:
        self._check_version(self.header.get("schema_version"))
        if self._payload is not None and not isinstance(self._payload.get("frames"), (list, tuple)):
            self._fail(f"expected frames as a list, found {show(self._payload.get('frames'))}", _AGAIN)

    def _members(self, header: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Top-level keys and values of the file; of ``frames``, None. A caller may leave before the frames are read."""
        seen = False
        with self._opened() as stream:
            for key in stream.members():
                if key != "frames":
                    yield key, stream.parse(*stream.value(f"the value of {json.dumps(key)}"))[0]
                    continue
                seen = True
                yield key, None
                for _ in self._items(stream):
                    pass
        if not seen:
            self._check_version(header.get("schema_version"))
            self._fail("expected frames as a list, found none", _AGAIN)

    @contextmanager
    def _opened(self) -> Iterator[JsonStream]:
        assert self.path is not None
        try:
            with self.path.open("rb") as file:
                yield JsonStream(file, document="track-v1 JSON", chunk_bytes=_CHUNK_BYTES)
        except JsonStreamError as error:
            raise TracksError(f"{self.name}: {error}.", hint=_JSON_HINTS.get(error.kind)) from error
        except FileNotFoundError as error:
            raise TracksError(
                f"{self.name}: there is no such file.", hint="Expected tracked.json of gtrack run --json."
            ) from error
        except IsADirectoryError as error:
            raise TracksError(
                f"{self.name}: expected a file, found a folder.", hint="Give the tracked.json in it."
            ) from error
        except OSError as error:
            raise TracksError(f"{self.name}: cannot be read: {error.strerror or error}.") from error

    def _items(self, stream: JsonStream) -> Iterator[tuple[bytes, int]]:
        if not stream.at_list():
            self._fail(f"expected frames as a list, found {show(stream.parse(*stream.value('frames'))[0])}", _AGAIN)
        return stream.items("a frame", "frames")

    def _entries(self) -> Iterator[tuple[Any, str]]:
        """The frames as they stand in the document, and where."""
        if self._payload is not None:
            for index, entry in enumerate(self._payload["frames"]):
                yield entry, f"entry {index}"
            return
        with self._opened() as stream:
            for key in stream.members():
                if key != "frames":
                    stream.value(f"the value of {json.dumps(key)}")
                    continue
                for blob, offset in self._items(stream):
                    entry, problems = stream.parse(blob, offset)
                    if problems:
                        why, at, found = problems[0]
                        self._fail(f"byte {offset}: {at or 'the frame'}: expected JSON, found {found} ({why})", _AGAIN)
                    yield entry, f"byte {offset}"

    def _frame(self, entry: Any, place: str) -> TrackFrame:
        if not isinstance(entry, Mapping):
            self._fail(f"{place}: expected a frame (an object), found {show(entry)}", _AGAIN)
        number = entry.get("frame", entry.get("frame_index"))
        if type(number) is not int or not 0 <= number <= _MAX_FRAME:
            self._fail(f"{place}: expected a frame number from 0 on, found {show(number)}", _AGAIN)
        detections = entry.get("detections")
        if not isinstance(detections, (list, tuple)):
            self._fail(f"frame {number}: expected detections as a list, found {show(detections)}", _AGAIN)
        boxes: list[Sequence[float]] = []
        scores: list[float] = []
        class_ids: list[int] = []
        det_inds: list[int] = []
        distances: list[float] = []
        class_names: list[str | None] = []
        track_ids: list[str | None] = []
        gallery_ids: list[str | None] = []
        taken: set[str] = set()
        for index, item in enumerate(detections):
            if not isinstance(item, Mapping):
                self._fail(f"frame {number}, detection {index}: expected an object, found {show(item)}", _AGAIN)
            class_id = item.get("class_id", item.get("class", -1))
            if type(class_id) is not int or abs(class_id) > _MAX_FRAME:
                self._refuse(number, index, "class_id as a whole number", class_id)
            if self._classes is not None and class_id not in self._classes:
                continue
            box = item.get("bbox", item.get("xyxy"))
            if not isinstance(box, (list, tuple)) or len(box) != 4 or not all(map(_is_number, box)):
                self._refuse(number, index, "bbox as four finite numbers [x1, y1, x2, y2]", box)
            if box[2] < box[0] or box[3] < box[1]:
                self._refuse(number, index, "bbox with x2 >= x1 and y2 >= y1", box)
            track_id, gallery_id = item.get("track_id"), item.get("gallery_id")
            if track_id is not None:
                track_id = self._text(number, index, "track_id", str(track_id) if type(track_id) is int else track_id)
                if track_id in taken:
                    self._fail(
                        f"frame {number}, detection {index}: track {show(track_id)} is in this frame already", _AGAIN
                    )
                taken.add(track_id)
            if gallery_id is not None:
                gallery_id = self._text(number, index, "gallery_id", gallery_id)
                if track_id is None:
                    self._refuse(number, index, f"a track_id beside gallery_id {show(gallery_id)}", None)
            class_name = item.get("class_name")
            boxes.append(box)
            scores.append(self._number(number, index, "score", item.get("score", item.get("conf"))))
            class_ids.append(class_id)
            class_names.append(None if class_name is None else self._text(number, index, "class_name", class_name))
            det_ind = item.get("det_ind", index)
            det_inds.append(det_ind if type(det_ind) is int else index)
            track_ids.append(track_id)
            gallery_ids.append(gallery_id)
            distances.append(self._number(number, index, "gallery_distance", item.get("gallery_distance")))
        file = entry.get("file")
        return TrackFrame(
            frame=number,
            file=file if isinstance(file, str) and file else None,
            boxes=np.array(boxes, np.float64).reshape(-1, 4),
            scores=np.array(scores, np.float64),
            class_ids=np.array(class_ids, np.int64),
            class_names=tuple(class_names),
            det_inds=np.array(det_inds, np.int64),
            track_ids=tuple(track_ids),
            gallery_ids=tuple(gallery_ids),
            distances=np.array(distances, np.float64),
        )

    def _refuse(self, frame: int, index: int, expected: str, found: Any) -> NoReturn:
        self._fail(f"frame {frame}, detection {index}: expected {expected}, found {show(found)}", _AGAIN)

    def _number(self, frame: int, index: int, key: str, value: Any) -> float:
        if value is None:
            return math.nan
        if not _is_number(value):
            self._refuse(frame, index, f"{key} as a number", value)
        return float(value)

    def _text(self, frame: int, index: int, key: str, value: Any) -> str:
        if not isinstance(value, str) or not value:
            self._refuse(frame, index, f"{key} as some text", value)
        return value


Source = str | os.PathLike[str] | Mapping[str, Any] | TrackResult | TrackReader
"""What tracks can be read from."""


def read_tracks(source: Source, *, classes: Collection[int] | None = None) -> TrackReader:
    """Open the tracks of a run.

    The header is read at once; frames are read, checked and forgotten one by one as the reader is iterated over.
    As the schema has it, ``frame_index`` is taken for ``frame`` and ``xyxy`` for ``bbox``.

    Args:
        source: A track-v1 file (``tracked.json``), a document in memory, or what `tracking.track_video` returned.
        classes: Only detections of these class ids; None for all.

    Raises:
        TracksError: Not a readable track-v1 document; names the file, and what was expected there.
    """
    if isinstance(source, TrackReader):
        return source if classes is None else TrackReader(source.name, source.path, source._payload, classes)
    if isinstance(source, TrackResult):
        path = source.paths.json_path
        if path is None:
            return TrackReader("the result", None, source.payload, classes)
        source = path
    if isinstance(source, Mapping):
        return TrackReader("the tracks in memory", None, source, classes)
    if not isinstance(source, (str, os.PathLike)):
        raise TracksError(f"expected a track-v1 file or document, found {show(source)}.")
    path = Path(source)
    if path.exists() and not path.is_file() and not path.is_dir():
        raise TracksError(
            f"{path}: expected a regular file, because it is read more than once.",
            hint="Write the tracks to a file first.",
        )
    return TrackReader(str(path), path, None, classes)


def run_video(header: Mapping[str, Any]) -> str | None:
    """Path or address of the video that a run read, from the header of its track-v1.

    gtrack notes it among the tracker's settings: ``video`` is what the detections say of theirs, which may have been
    another file. Documents of others have that alone.
    """
    path = _config(header).get("video") or _mapping(header.get("video")).get("path")
    return str(path) if path else None


def run_fps(header: Mapping[str, Any]) -> float | None:
    """Frames per second of that video, likewise; None where neither is known."""
    return _positive(_config(header).get("video_fps")) or _positive(_mapping(header.get("video")).get("fps"))


def _config(header: Mapping[str, Any]) -> Mapping[str, Any]:
    return _mapping(_mapping(header.get("tracker")).get("config"))


def video_name(header: Mapping[str, Any]) -> str | None:
    """What to call that video: a file's name without its folders, an address as it is."""
    path = run_video(header)
    return path if path is None or "://" in path else Path(path).name


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _positive(value: Any) -> float | None:
    return float(value) if _is_number(value) and value > 0 else None
