"""Tracks as MOTChallenge text: ``frame, id, left, top, width, height, confidence, -1, -1, -1``.

Frames count from 1 in this format. Pixel coordinates are not changed, as TrackEval expects. The ids are whole numbers;
a sidecar file maps them to tracks and identities. The text has no classes: export only those that are to be scored.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import orjson

from tracking.results.numbering import By, Numbering
from tracking.results.sinks import ExportedFile, atomic_output
from tracking.results.timeline import Timeline
from tracking.results.track_frame import TrackFrame

__all__ = ["MotSink", "ids_path", "mot_sink"]


def ids_path(path: Path) -> Path:
    """Return the path of the sidecar: ``result.ids.json`` beside ``result.txt``."""
    return path.with_name(f"{path.stem}.ids.json")


class MotSink:
    """Writes one line for each tracked box."""

    def __init__(self, path: Path, file: IO[str], numbering: Numbering) -> None:
        self._path, self._file, self._numbering = path, file, numbering
        self._rows = 0

    @property
    def exported(self) -> ExportedFile:
        """The file that was written."""
        return ExportedFile(self._path, "mot", self._rows, (ids_path(self._path),))

    def write(self, frame: TrackFrame) -> None:
        """Write the next frame."""
        numbers = self._numbering.number(frame)
        for row, number in sorted(numbers, key=lambda pair: pair[1]):
            x1, y1, x2, y2 = frame.boxes[row].tolist()
            score = float(frame.scores[row])
            box = ",".join(_format(value) for value in (x1, y1, x2 - x1, y2 - y1))
            confidence = "1" if score != score else f"{score:.6g}"
            self._file.write(f"{frame.frame + 1},{number},{box},{confidence},-1,-1,-1\n")
        self._rows += len(numbers)


@contextmanager
def mot_sink(path: Path, timeline: Timeline, *, by: By | None = None) -> Iterator[MotSink]:
    """Open a sink for MOTChallenge text and its sidecar.

    Args:
        path: The file to write.
        timeline: The timeline of the same document.
        by: The objects that the ids number; see `Numbering`.
    """
    numbering = Numbering(timeline, by)
    with atomic_output(ids_path(path)) as sidecar, atomic_output(path) as temporary:
        with temporary.open("w", encoding="ascii", newline="\n") as file:
            yield MotSink(path, file, numbering)
        objects = numbering.objects()
        content = {"format": "gtrack-mot-ids", "version": 1, "by": numbering.by, "ids": objects}
        if numbering.nameless:
            content["nameless_from"] = len(objects) + 1
        sidecar.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")


def _format(value: float) -> str:
    """Format a coordinate to a thousandth of a pixel, the precision of track-v1."""
    return f"{value:.3f}".rstrip("0").rstrip(".")
