"""Reading det-v1, the detections that a detector wrote beside a video.

A file is read as a stream: one frame's JSON at a time is parsed, checked and appended to numeric
columns, and the frame's place in the file is kept, so that `DetectionSource.raw` can read it again
with every key that the detector wrote. A million detections take some tens of megabytes.

`tracking.json_stream` walks over the JSON, `tracking.detections.rows` decides what is a usable detection.
"""

from __future__ import annotations

import json
import os
import stat
from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from tracking.detections.rows import MAX_COORDINATE, MIN_BOX_SIDE, Collector, Columns, Fix, check_version, finite
from tracking.errors import DetectionsError
from tracking.json_stream import JsonStream, JsonStreamError, Problem, is_plain, parse, plain, show

if TYPE_CHECKING:
    from tracking.detections.feeds import DetectionFeed

__all__ = [
    "MAX_COORDINATE",
    "MIN_BOX_SIDE",
    "DetectionSource",
    "FrameDetections",
    "check_against_video",
    "open_detections",
]

_CHUNK_BYTES = 1 << 20
_EXPORT_HINT = "Correct the detector's export; --lenient does not help here."
_JSON_HINTS = {
    "cut": "Run the detector again, or copy the file again.",
    "gzip": "Decompress it first.",
    "syntax": _EXPORT_HINT,
    "value": _EXPORT_HINT,
}


@dataclass(frozen=True, slots=True, eq=False)
class FrameDetections:
    """The detections of one frame as parallel arrays, in the order of the file.

    Attributes:
        frame: 0-based frame number.
        boxes: (N, 4) float64, xyxy in pixels, finite, of positive area.
        scores: (N,) float64 in [0, 1].
        class_ids: (N,) int64; -1 where the detector knows no class.
        det_inds: (N,) int64, unique in the frame, not negative.
        class_names: N names; None where the detector gave none.
    """

    frame: int
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    class_ids: NDArray[np.int64]
    det_inds: NDArray[np.int64]
    class_names: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.scores)


class DetectionSource:
    """The detections of one video, checked. Made by `open_detections`.

    Attributes:
        header: Every top-level key but ``frames``, in the order of the file.
        path: Path of the file; None for a payload in memory.
        frame_numbers: Sorted (F,) int64, read-only: the frames that have an entry (which may be empty).
        count: Number of usable detections.
        last_frame: The highest frame number that has an entry; -1 where there is none.
        warnings: Reason to count, of what lenient reading dropped or repaired; empty otherwise.
    """

    def __init__(
        self,
        *,
        header: Mapping[str, Any],
        path: str | None,
        columns: Columns,
        warnings: Counter[str],
        read_entry: Callable[[int], dict[str, Any]],
    ) -> None:
        self.header: Mapping[str, Any] = MappingProxyType(dict(header))
        self.path = path
        self.frame_numbers = columns.frame_numbers
        self.count = len(columns.scores)
        self.last_frame = int(self.frame_numbers[-1]) if len(self.frame_numbers) else -1
        self.warnings: Mapping[str, int] = MappingProxyType(warnings)
        self._columns = columns
        self._read_entry = read_entry

    def __repr__(self) -> str:
        where = self.path or "in memory"
        return f"<DetectionSource {where}: {len(self.frame_numbers)} frames, {self.count} detections>"

    @property
    def video(self) -> Mapping[str, Any]:
        """What det-v1 says of its video: any of path, fps, frame_count, width, height; may be empty."""
        video = self.header.get("video")
        return video if isinstance(video, Mapping) else {}

    @cached_property
    def class_ids(self) -> tuple[int, ...]:
        """The class ids that occur, ascending."""
        return tuple(int(value) for value in np.unique(self._columns.class_ids))

    @cached_property
    def class_names(self) -> Mapping[int, str]:
        """Class id to the class name that it carries most often; ids that carry none are left out."""
        columns = self._columns
        named = columns.name_codes >= 0
        pairs, counts = np.unique(
            np.stack([columns.class_ids[named], columns.name_codes[named].astype(np.int64)], axis=1),
            axis=0,
            return_counts=True,
        )
        best: dict[int, str] = {}
        # Ascending by count, so that the last one written for an id is the most frequent.
        for row in np.argsort(counts, kind="stable"):
            class_id, code = pairs[row]
            best[int(class_id)] = columns.names[int(code)]
        return MappingProxyType(dict(sorted(best.items())))

    def at(self, frame: int) -> FrameDetections:
        """The detections of a frame; empty arrays where the frame has no entry."""
        columns = self._columns
        entry = self._entry_of(frame)
        start, stop = (0, 0) if entry is None else (int(columns.starts[entry]), int(columns.stops[entry]))
        return FrameDetections(
            frame=frame,
            boxes=columns.boxes[start:stop].copy(),
            scores=columns.scores[start:stop].copy(),
            class_ids=columns.class_ids[start:stop].copy(),
            det_inds=columns.det_inds[start:stop].copy(),
            class_names=tuple(
                columns.names[code] if code >= 0 else None for code in columns.name_codes[start:stop].tolist()
            ),
        )

    def raw(self, frame: int) -> dict[str, Any] | None:
        """A frame's entry with every key that the detector wrote, as a new dict of JSON types.

        Its ``detections`` are those of `at`, row for row: what lenient reading dropped is left out,
        and what it repaired is repaired.

        Returns:
            None where the frame has no entry.

        Raises:
            DetectionsError: The file changed since it was opened.
        """
        entry = self._entry_of(frame)
        if entry is None:
            return None
        position = int(self._columns.positions[entry])
        raw = self._read_entry(position)
        fix = self._columns.fixes.get(position)
        detections = raw.get("detections")
        if fix is not None or not isinstance(detections, list):
            fix = fix or Fix(frozenset(), {})
            raw["detections"] = [
                {**item, **fix.repairs.get(index, {})}
                for index, item in enumerate(detections if isinstance(detections, list) else [])
                if index not in fix.dropped
            ]
        return raw

    def beyond(self, frame: int) -> NDArray[np.int64]:
        """Numbers of the frames after this one that have an entry."""
        return self.frame_numbers[self.frame_numbers > frame]

    def close(self, note: str | None = None) -> None:
        """Nothing to do: the file is opened for each look."""

    def _entry_of(self, frame: int) -> int | None:
        entry = int(np.searchsorted(self.frame_numbers, frame))
        if entry < len(self.frame_numbers) and int(self.frame_numbers[entry]) == frame:
            return entry
        return None


def open_detections(
    source: str | Path | Mapping[str, Any] | DetectionSource, *, lenient: bool = False
) -> DetectionSource:
    """Read and check detections.

    ``frame_index`` is taken for ``frame``, ``xyxy`` for ``bbox``, ``conf`` for ``score`` and
    ``class`` for ``class_id``. Frames may be missing and in any order. A missing ``det_ind`` is the
    detection's index in its frame.

    Args:
        source: Path of a det-v1 file (JSON in UTF-8), a det-v1 document in memory (its values are
            read again by `DetectionSource.raw`, so leave it unchanged), or a `DetectionSource`,
            which is returned as it is.
        lenient: Drop what cannot be used and repair what can, and count both by reason in
            `DetectionSource.warnings`: unusable detections and frames are dropped, of two entries
            for a frame the first is kept, NaN and infinity outside of the keys that are used become
            null, a score less than 0.01 outside of [0, 1] is clipped, a class of null becomes -1.

    Raises:
        DetectionsError: Not a readable det-v1 document, or (unless lenient) one frame or detection
            in it cannot be used; names the file, the frame, its place in the list and the detection.
    """
    if isinstance(source, DetectionSource):
        return source
    if isinstance(source, Mapping):
        return _from_payload(source, lenient)
    if not isinstance(source, (str, os.PathLike)):
        raise DetectionsError(
            f"expected the path of a det-v1 file or a det-v1 document (a dict), found {show(source)}.",
            hint='A list of frames goes into {"schema_version": "det-v1", "frames": [...]}.',
        )
    return _from_file(Path(source), lenient)


def check_against_video(
    source: DetectionFeed,
    *,
    width: int,
    height: int,
    frame_count: int | None,
    path: str,
    lenient: bool = False,
) -> list[str]:
    """Check that detections belong to a video, by what det-v1 says of it.

    What det-v1 does not say is not checked.

    Args:
        source: The detections.
        width: Width of the opened video's frames, in pixels.
        height: Height, in pixels.
        frame_count: Frames that the opened video has; None (or 0 and less, as OpenCV says for
            streams) where that is not known.
        path: The opened video's path, for the message.
        lenient: Return the disagreements as sentences in place of raising the first.

    Returns:
        Disagreements; always empty unless lenient.

    Raises:
        DetectionsError: Video and detections disagree in size, or the video is too short.
    """
    name = source.path or "the detections"
    found: list[str] = []
    expected_size = (finite(source.video.get("width")), finite(source.video.get("height")))
    if any(
        expected is not None and expected > 0 and expected != actual
        for expected, actual in zip(expected_size, (width, height), strict=True)
    ):
        text = " x ".join("?" if value is None else f"{value:g}" for value in expected_size)
        found.append(f"{name} was made from a video of {text} pixels, but {path} has {width} x {height}.")
    if frame_count is not None and frame_count > 0:
        expected_count = finite(source.video.get("frame_count"))
        if source.last_frame >= frame_count:
            found.append(
                f"{name} has an entry for frame {source.last_frame}, but {path} has {frame_count} frames "
                f"(the last is {frame_count - 1})."
            )
        elif expected_count is not None and expected_count > frame_count:
            found.append(
                f"{name} was made from a video of {expected_count:g} frames, but {path} has {frame_count}: "
                f"it is another video, or it was cut short."
            )
    if found and not lenient:
        raise DetectionsError(
            found[0], hint="Give the video that the detector ran on, or pass --lenient to go on all the same."
        )
    return found


# --- sources ---------------------------------------------------------------------------------------


def _from_payload(payload: Mapping[str, Any], lenient: bool) -> DetectionSource:
    name = "detections in memory"
    collector = Collector(name, lenient)
    problems: list[Problem] = []
    try:
        header = plain({key: value for key, value in payload.items() if key != "frames"}, "", problems)
        header = collector.header(header, problems)
        frames = payload.get("frames")
        if not isinstance(frames, (list, tuple)):
            _refuse_frames(name, "frames" in payload, frames)
        for entry in frames:
            problems = []
            # A look is several times faster than a copy, and nearly always enough.
            collector.add(entry if is_plain(entry) else plain(entry, "", problems), problems)
    except RecursionError as error:
        raise DetectionsError(f"{name}: nested too deeply, or a part of itself.", hint=_EXPORT_HINT) from error

    def read_entry(position: int) -> dict[str, Any]:
        copy: dict[str, Any] = plain(frames[position], "", [])
        return copy

    columns = collector.columns()
    return DetectionSource(
        header=header, path=None, columns=columns, warnings=collector.warnings, read_entry=read_entry
    )


def _refuse_frames(name: str, present: bool, value: object) -> NoReturn:
    found = f"found {show(value)}" if present else "it is missing"
    raise DetectionsError(f"{name}: expected frames as a list, but {found}.", hint=_EXPORT_HINT)


def _from_file(path: Path, lenient: bool) -> DetectionSource:
    if "\0" in str(path):
        raise DetectionsError(f"{show(str(path))}: expected a path, found one with a NUL character in it.")
    collector = Collector(str(path), lenient)
    offsets = array("q")
    lengths = array("q")
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise DetectionsError(
                f"{path}: expected a regular file, because frames are read from it again later.",
                hint="Write the detections to a file first.",
            )
        with path.open("rb") as file:
            reader = JsonStream(file, document="det-v1 JSON", chunk_bytes=_CHUNK_BYTES)
            header: dict[str, Any] = {}
            header_problems: list[Problem] = []
            seen_frames = False
            for key in reader.members():
                if key != "frames":
                    header[key], problems = reader.parse(*reader.value(f"the value of {json.dumps(key)}"))
                    header_problems += [(why, f"{key}.{at}" if at else key, found) for why, at, found in problems]
                    if key == "schema_version":
                        # At once where it comes first, before anything else is complained about.
                        check_version(header, str(path))
                    continue
                if seen_frames:
                    raise DetectionsError(f'{path}: expected "frames" once, found it twice.', hint=_EXPORT_HINT)
                seen_frames = True
                if not reader.at_list():
                    _refuse_frames(str(path), True, reader.parse(*reader.value("frames"))[0])
                for blob, offset in reader.items("a frame", "frames"):
                    offsets.append(offset)
                    lengths.append(len(blob))
                    entry, problems = reader.parse(blob, offset)
                    collector.add(entry, problems, f", byte {offset}")
    except JsonStreamError as error:
        raise DetectionsError(f"{path}: {error}.", hint=_JSON_HINTS.get(error.kind)) from error
    except FileNotFoundError as error:
        raise DetectionsError(f"{path}: there is no such file.", hint="Check the path of the detections.") from error
    except IsADirectoryError as error:
        raise DetectionsError(f"{path}: expected a file, found a folder.", hint="Give a det-v1 .json file.") from error
    except OSError as error:
        raise DetectionsError(f"{path}: cannot be read: {error.strerror or error}.") from error

    header = collector.header(header, header_problems)
    if not seen_frames:
        _refuse_frames(str(path), False, None)

    def read_entry(position: int) -> dict[str, Any]:
        try:
            with path.open("rb") as file:
                now = os.fstat(file.fileno())
                file.seek(offsets[position])
                blob = file.read(lengths[position])
        except OSError as error:
            raise DetectionsError(f"{path}: cannot be read any more: {error.strerror or error}.") from error
        if (now.st_size, now.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
            raise DetectionsError(
                f"{path}: the file changed while it was in use.", hint="Run again, with a file that stays as it is."
            )
        raw: dict[str, Any] = parse(blob)[0]
        return raw

    columns = collector.columns()
    return DetectionSource(
        header=header, path=str(path), columns=columns, warnings=collector.warnings, read_entry=read_entry
    )
