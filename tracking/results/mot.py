"""Tracks as MOTChallenge text: ``frame, id, left, top, width, height, confidence, -1, -1, -1``.

Frames count from 1 there. Pixel coordinates stay as they are, as TrackEval takes them. The ids are whole numbers; a
sidecar says who they are. The text itself says nothing of classes: leave out what is not to be scored.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import orjson

from tracking.results.numbering import By, Numbering
from tracking.results.sinks import Exported, whole_file
from tracking.results.timelines import Timeline
from tracking.results.track_frame import TrackFrame

__all__ = ["MotSink", "ids_path", "mot_sink"]


def ids_path(path: Path) -> Path:
    """Where the sidecar of a text is: ``result.ids.json`` beside ``result.txt``."""
    return path.with_name(f"{path.stem}.ids.json")


class MotSink:
    """Writes one line a tracked box."""

    def __init__(self, path: Path, file: IO[str], numbering: Numbering) -> None:
        self._path, self._file, self._numbering = path, file, numbering
        self._rows = 0

    @property
    def exported(self) -> Exported:
        """What was written."""
        return Exported(self._path, "mot", self._rows, (ids_path(self._path),))

    def write(self, frame: TrackFrame) -> None:
        """Take one frame."""
        numbers = self._numbering.number(frame)
        for row, number in sorted(numbers, key=lambda pair: pair[1]):
            x1, y1, x2, y2 = frame.boxes[row].tolist()
            score = float(frame.scores[row])
            box = ",".join(_short(value) for value in (x1, y1, x2 - x1, y2 - y1))
            confidence = "1" if score != score else f"{score:.6g}"
            self._file.write(f"{frame.frame + 1},{number},{box},{confidence},-1,-1,-1\n")
        self._rows += len(numbers)


@contextmanager
def mot_sink(path: Path, timeline: Timeline, *, by: By | None = None) -> Iterator[MotSink]:
    """A sink for MOTChallenge text, and its sidecar.

    Args:
        path: Where to.
        timeline: Of the document that is to be written.
        by: What the ids stand for; see `Numbering`.
    """
    numbering = Numbering(timeline, by)
    with whole_file(ids_path(path)) as beside, whole_file(path) as part:
        with part.open("w", encoding="ascii", newline="\n") as file:
            yield MotSink(path, file, numbering)
        objects = numbering.objects()
        content = {"format": "gtrack-mot-ids", "version": 1, "by": numbering.by, "ids": objects}
        if numbering.nameless:
            content["nameless_from"] = len(objects) + 1
        beside.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")


def _short(value: float) -> str:
    """To a thousandth of a pixel, as track-v1 itself has it."""
    return f"{value:.3f}".rstrip("0").rstrip(".")
