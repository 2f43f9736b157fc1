"""The two forms of a track-v1 document: a file, read as a stream, and a mapping in memory.

Both give the header and the entries of ``frames``, not yet checked. Errors name the document.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from gallery_db.regular_files import open_regular
from tracking.errors import TracksError
from tracking.json_stream import JsonStream, JsonStreamError, is_nested_deeply, show

__all__ = ["REMAKE_HINT", "TrackDocument", "TrackFile", "TrackMapping"]

REMAKE_HINT = "Make the file again with gtrack run --save-json."

_CHUNK_BYTES = 1 << 20
_JSON_HINTS = {
    "empty": REMAKE_HINT,
    "cut": "The run was killed, or the file is still being copied; make or copy it again.",
    "gzip": "Decompress it first.",
    "binary": "Give tracked.json of gtrack run --save-json.",
    "syntax": REMAKE_HINT,
    "value": REMAKE_HINT,
}
_EARLY_KEYS = ("schema_version", "video", "tracker")
"""Keys that are always needed. gtrack writes them before the frames, so that the frames need not be read for them."""


class TrackDocument(ABC):
    """A track-v1 document.

    Attributes:
        name: Its name in messages.
        path: The file; None for a document in memory.
        header: Every top-level key but ``frames``.
    """

    def __init__(self, name: str, path: Path | None) -> None:
        self.name = name
        self.path = path
        self.header: dict[str, Any] = {}

    @abstractmethod
    def entries(self) -> Iterator[tuple[Any, str]]:
        """Yield each entry of ``frames`` with its place in the document."""

    def fail(self, problem: str, hint: str | None = REMAKE_HINT) -> NoReturn:
        """Raise an error that names the document."""
        raise TracksError(f"{self.name}: {problem}.", hint=hint)

    def check_depth(self) -> None:
        """Raise an error if a value of the header is nested so deeply that exports could not write it."""
        for key, value in self.header.items():
            if is_nested_deeply(value):
                self.fail(f"expected {show(key)} to be nested by at most a hundred levels")

    def check_version(self, version: Any) -> None:
        """Raise an error if ``schema_version`` is another one."""
        if version == "track-v1":
            return
        if version == "det-v1":
            self.fail("these are detections (det-v1), not tracks", "Make tracks of them with gtrack run --save-json.")
        self.fail(
            f"expected schema_version 'track-v1', found {'none' if version is None else show(version)}",
            "Give tracked.json of gtrack run --save-json.",
        )


class TrackMapping(TrackDocument):
    """A document in memory."""

    def __init__(self, name: str, payload: Mapping[str, Any]) -> None:
        super().__init__(name, None)
        self.header = {str(key): value for key, value in payload.items() if key != "frames"}
        self.check_depth()
        self.check_version(self.header.get("schema_version"))
        frames = payload.get("frames")
        if not isinstance(frames, (list, tuple)):
            self.fail(f"expected frames as a list, found {show(frames)}")
        self._frames = frames

    def entries(self) -> Iterator[tuple[Any, str]]:
        """Yield each entry of ``frames`` with its place in the document."""
        for index, entry in enumerate(self._frames):
            yield entry, f"entry {index}"


class TrackFile(TrackDocument):
    """A file, of which no more than one entry is in memory at a time."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), path)
        self._read_header()
        self.check_version(self.header.get("schema_version"))

    def entries(self) -> Iterator[tuple[Any, str]]:
        """Yield each entry of ``frames`` with its place in the document."""
        with self._open() as stream:
            for key in stream.members():
                if key != "frames":
                    stream.value(f"the value of {json.dumps(key[:60])}")
                    continue
                for blob, offset in self._frame_items(stream):
                    entry, problems = stream.parse(blob, offset)
                    if problems:
                        reason, part, found = problems[0]
                        place = part[:100] or "the frame"
                        self.fail(f"byte {offset}: {place}: expected JSON, found {found} ({reason})")
                    yield entry, f"byte {offset}"

    def _read_header(self) -> None:
        has_frames = False
        with self._open() as stream:
            for key in stream.members():
                if key != "frames":
                    self.header[key] = stream.parse(*stream.value(f"the value of {json.dumps(key[:60])}"))[0]
                    self.check_depth()
                    if key == "schema_version":
                        # Before any other complaint about a file that is something else.
                        self.check_version(self.header[key])
                    continue
                if all(wanted in self.header for wanted in _EARLY_KEYS):
                    return
                has_frames = True
                for _ in self._frame_items(stream):
                    pass
        if not has_frames:
            self.check_version(self.header.get("schema_version"))
            self.fail("expected frames as a list, found none")

    @contextmanager
    def _open(self) -> Iterator[JsonStream]:
        assert self.path is not None
        try:
            with open_regular(self.path) as file:
                yield JsonStream(file, document="track-v1 JSON", chunk_bytes=_CHUNK_BYTES)
        except JsonStreamError as error:
            raise TracksError(f"{self.name}: {error}.", hint=_JSON_HINTS.get(error.kind)) from error
        except FileNotFoundError as error:
            raise TracksError(
                f"{self.name}: there is no such file.", hint="Expected tracked.json of gtrack run --save-json."
            ) from error
        except IsADirectoryError as error:
            raise TracksError(
                f"{self.name}: expected a file, found a folder.", hint="Give the tracked.json in it."
            ) from error
        except OSError as error:
            raise TracksError(f"{self.name}: cannot be read: {error.strerror or error}.") from error

    def _frame_items(self, stream: JsonStream) -> Iterator[tuple[bytes, int]]:
        if not stream.at_list():
            self.fail(f"expected frames as a list, found {show(stream.parse(*stream.value('frames'))[0])}")
        return stream.items("a frame", "frames")
