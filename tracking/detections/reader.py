"""Read det-v1: the detections that a detector wrote for a video.

A file is read as a stream. The JSON of one frame at a time is parsed, checked and appended to numeric columns. The byte
offset of each frame is kept, so that `DetectionSource.raw` can read the frame again with every key that the detector
wrote. A million detections take some tens of megabytes.

`tracking.json_stream` reads the JSON, `tracking.detections.validation` decides which detections are usable.
"""

from __future__ import annotations

import json
import os
import stat
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from tracking.detections.columns import ColumnBuilder
from tracking.detections.source import DetectionSource
from tracking.detections.validation import check_version
from tracking.errors import DetectionsError
from tracking.json_stream import JsonStream, JsonStreamError, Problem, is_plain, parse, plain, show

__all__ = ["open_detections"]

_CHUNK_BYTES = 1 << 20
_EXPORT_HINT = "Correct the detector's export; `lenient=True` does not help here."
_JSON_HINTS = {
    "cut": "Run the detector again, or copy the file again.",
    "gzip": "Decompress it first.",
    "syntax": _EXPORT_HINT,
    "value": _EXPORT_HINT,
}


def open_detections(
    source: str | Path | Mapping[str, Any] | DetectionSource, *, lenient: bool = False
) -> DetectionSource:
    """Read and check detections.

    ``frame_index`` is accepted for ``frame``, ``xyxy`` for ``bbox``, ``conf`` for ``score`` and ``class`` for
    ``class_id``. Frames may be missing and in any order. A missing ``det_ind`` is the detection's index in its frame.

    Args:
        source: Path of a det-v1 file (JSON in UTF-8), a det-v1 document in memory (`DetectionSource.raw` reads its
            values again, so do not change it), or a `DetectionSource`, which is returned unchanged.
        lenient: Drop what cannot be used, repair what can be repaired, and count both by reason in
            `DetectionSource.warnings`. Unusable detections and frames are dropped; of two entries for a frame the
            first is kept; NaN and infinity in keys that gtrack does not use become null; a score less than 0.01
            outside of [0, 1] is clipped; a class of null becomes -1.

    Raises:
        DetectionsError: The source is not a readable det-v1 document, or (unless lenient) a frame or detection cannot
            be used; names the file, the frame, its place in the list and the detection.
    """
    if isinstance(source, DetectionSource):
        return source
    if isinstance(source, Mapping):
        return _read_document(source, lenient)
    if not isinstance(source, (str, os.PathLike)):
        raise DetectionsError(
            f"expected the path of a det-v1 file or a det-v1 document (a dict), found {show(source)}.",
            hint='Put a list of frames into {"schema_version": "det-v1", "frames": [...]}.',
        )
    return _read_file(Path(source), lenient)


def _read_document(payload: Mapping[str, Any], lenient: bool) -> DetectionSource:
    """Read a det-v1 document in memory."""
    name = "detections in memory"
    builder = ColumnBuilder(name, lenient)
    problems: list[Problem] = []
    try:
        header = plain({key: value for key, value in payload.items() if key != "frames"}, "", problems)
        header = builder.check_header(header, problems)
        frames = payload.get("frames")
        if not isinstance(frames, (list, tuple)):
            _fail_without_frames(name, "frames" in payload, frames)
        for entry in frames:
            problems = []
            # To check the types is several times faster than to copy, and is nearly always enough.
            builder.add(entry if is_plain(entry) else plain(entry, "", problems), problems)
    except RecursionError as error:
        raise DetectionsError(f"{name}: nested too deeply, or a part of itself.", hint=_EXPORT_HINT) from error

    def read_entry(position: int) -> dict[str, Any]:
        copy: dict[str, Any] = plain(frames[position], "", [])
        return copy

    columns = builder.build()
    return DetectionSource(header=header, path=None, columns=columns, warnings=builder.warnings, read_entry=read_entry)


def _fail_without_frames(name: str, present: bool, value: object) -> NoReturn:
    found = f"found {show(value)}" if present else "it is missing"
    raise DetectionsError(f"{name}: expected frames as a list, but {found}.", hint=_EXPORT_HINT)


def _read_file(path: Path, lenient: bool) -> DetectionSource:
    """Read a det-v1 file as a stream."""
    if "\0" in str(path):
        raise DetectionsError(f"{show(str(path))}: expected a path, found one with a NUL character in it.")
    builder = ColumnBuilder(str(path), lenient)
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
                    header[key], problems = reader.parse(*reader.value(f"the value of {json.dumps(key[:60])}"))
                    header_problems += [(why, f"{key}.{at}" if at else key, found) for why, at, found in problems]
                    if key == "schema_version":
                        # At once, so that a file of another kind is reported as such, before any other error.
                        check_version(header, str(path))
                    continue
                if seen_frames:
                    raise DetectionsError(f'{path}: expected "frames" once, found it twice.', hint=_EXPORT_HINT)
                seen_frames = True
                if not reader.at_list():
                    _fail_without_frames(str(path), True, reader.parse(*reader.value("frames"))[0])
                for blob, offset in reader.items("a frame", "frames"):
                    offsets.append(offset)
                    lengths.append(len(blob))
                    entry, problems = reader.parse(blob, offset)
                    builder.add(entry, problems, f", byte {offset}")
    except JsonStreamError as error:
        raise DetectionsError(f"{path}: {error}.", hint=_JSON_HINTS.get(error.kind)) from error
    except FileNotFoundError as error:
        raise DetectionsError(f"{path}: there is no such file.", hint="Check the path of the detections.") from error
    except IsADirectoryError as error:
        raise DetectionsError(f"{path}: expected a file, found a folder.", hint="Give a det-v1 .json file.") from error
    except OSError as error:
        raise DetectionsError(f"{path}: cannot be read: {error.strerror or error}.") from error

    header = builder.check_header(header, header_problems)
    if not seen_frames:
        _fail_without_frames(str(path), False, None)

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

    columns = builder.build()
    return DetectionSource(
        header=header, path=str(path), columns=columns, warnings=builder.warnings, read_entry=read_entry
    )
