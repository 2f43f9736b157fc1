"""Reading MOTChallenge text: ground truth, detections and results, one box a line.

Frames count from 1 in these files and from 0 everywhere in gtrack: they are shifted here, and nowhere else.
Pixel coordinates are taken as they are, as TrackEval takes them.
"""

from __future__ import annotations

import configparser
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from tracking.errors import MotTextError

__all__ = ["MAX_FRAME", "MotRows", "MotSequence", "find_mot_sequence", "read_mot"]

MAX_FRAME = 2**31 - 1
_LAST_CLASS = 13  # MOT16 to MOT20 number their classes from 1 (pedestrian) to 13 (crowd)
_COLUMNS = ("frame", "id", "left", "top", "width", "height", "confidence", "class", "visibility")


@dataclass(frozen=True, slots=True, eq=False)
class MotRows:
    """The rows of a MOTChallenge text file, as parallel arrays in the order of the file.

    Attributes:
        path: The file.
        lines: (N,) int64, 1-based line numbers.
        frames: (N,) int64, 0-based.
        ids: (N,) int64; -1 in files of detections.
        ltwh: (N, 4) float64: left, top, width, height in pixels, finite, no side below 0.
        confidences: (N,) float64: the seventh column, 1 where there is none. In ground truth 0 marks a row
            that does not count.
        classes: (N,) int64: the eighth column, -1 where there is none or it is no whole number.
        visibility: (N,) float64 in [0, 1]: the ninth column if `classed`, else 1.
        classed: Whether the eighth column holds classes as in MOT16 and later. MOT15 has world coordinates there.
    """

    path: str
    lines: NDArray[np.int64]
    frames: NDArray[np.int64]
    ids: NDArray[np.int64]
    ltwh: NDArray[np.float64]
    confidences: NDArray[np.float64]
    classes: NDArray[np.int64]
    visibility: NDArray[np.float64]
    classed: bool

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def xyxy(self) -> NDArray[np.float64]:
        """(N, 4) float64: the boxes' corners."""
        return np.concatenate([self.ltwh[:, :2], self.ltwh[:, :2] + self.ltwh[:, 2:]], axis=1)


@dataclass(frozen=True, slots=True)
class MotSequence:
    """Where a sequence's file is, and what ``seqinfo.ini`` says; None for what it does not say.

    Attributes:
        name: Name of the sequence, for messages.
        file: The text file.
        frame_count: Number of frames.
        fps: Frames per second.
        width, height: Pixels.
    """

    name: str
    file: Path
    frame_count: int | None = None
    fps: float | None = None
    width: int | None = None
    height: int | None = None


def find_mot_sequence(path: str | os.PathLike[str], part: str) -> MotSequence:
    """Find a MOTChallenge file, and the facts beside it.

    Args:
        path: A text file, or a sequence folder (with ``gt/gt.txt``, ``det/det.txt``, ``seqinfo.ini``).
        part: ``"gt"`` or ``"det"``: which of them.

    Raises:
        MotTextError: There is no such file or folder, or ``seqinfo.ini`` is damaged.
    """
    place = Path(path)
    if place.is_dir():
        file = place / part / f"{part}.txt"
        if not file.is_file():
            raise MotTextError(
                f"{place}: expected a MOTChallenge sequence with {part}/{part}.txt in it.",
                hint=f"Give the sequence's folder, or the {part}.txt itself.",
            )
        folder = place
    else:
        if not place.is_file():
            raise MotTextError(
                f"{place}: there is no such file.", hint=f"Give a MOTChallenge {part}.txt, or a sequence's folder."
            )
        file = place
        folder = place.parent.parent if place.parent.name == part else place.parent
    facts = _sequence_facts(folder / "seqinfo.ini")
    name = facts.get("name") or (folder.name if place.is_dir() or place.parent.name == part else file.stem)

    def number(key: str) -> float | None:
        if key not in facts:
            return None
        try:
            value = float(facts[key])
        except ValueError:
            value = math.nan
        if not 0 < value < MAX_FRAME:
            raise MotTextError(f"{folder / 'seqinfo.ini'}: expected {key} above 0, found {facts[key]!r}.")
        return value

    length, width, height = (number(key) for key in ("seqlength", "imwidth", "imheight"))
    return MotSequence(
        name,
        file,
        frame_count=None if length is None else int(length),
        fps=number("framerate"),
        width=None if width is None else int(width),
        height=None if height is None else int(height),
    )


def _sequence_facts(file: Path) -> dict[str, str]:
    if not file.is_file():
        return {}
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(file.read_text(encoding="utf-8-sig"))
    except (configparser.Error, UnicodeDecodeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise MotTextError(f"{file}: cannot be read: {reason}.", hint="Correct it, or remove it.") from error
    return dict(parser["Sequence"]) if parser.has_section("Sequence") else {}


def read_mot(path: str | os.PathLike[str], *, unique_ids: bool = True) -> MotRows:
    """Read a MOTChallenge text file: ``frame, id, left, top, width, height[, confidence, class, visibility]``.

    Columns stand between commas or white space; empty lines and lines that start with ``#`` are left out.
    Rows may be in any order. An empty file is a file without a box.

    Args:
        path: The file.
        unique_ids: Refuse an id that a frame has twice. False for detections, whose ids are all -1.

    Raises:
        MotTextError: The file cannot be read, or a line is not such a row; names the line.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise MotTextError(f"{file}: expected MOTChallenge text, found binary data.") from error
    except OSError as error:
        raise MotTextError(f"{file}: cannot be read: {error.strerror or error}.") from error
    lines: list[int] = []
    values: list[list[float]] = []
    classed = True
    seen: dict[tuple[int, int], int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        row = _row(line, file, number)
        if unique_ids and (first := seen.setdefault((int(row[0]), int(row[1])), number)) != number:
            raise MotTextError(
                f"{file}, line {number}: frame {row[0]:g} has id {row[1]:g} already, in line {first}.",
                hint="An id stands for one object, so it can be once in a frame.",
            )
        classed = classed and _is_classed(row)
        lines.append(number)
        values.append([*row, *[math.nan] * (9 - len(row))][:9])
    array = np.asarray(values, np.float64).reshape(-1, 9)
    classes = np.where(np.isfinite(array[:, 7]) & (array[:, 7] == np.trunc(array[:, 7])), array[:, 7], -1)
    classed = classed and bool(lines)
    return MotRows(
        path=str(file),
        lines=np.asarray(lines, np.int64),
        frames=array[:, 0].astype(np.int64) - 1,
        ids=array[:, 1].astype(np.int64),
        ltwh=array[:, 2:6].copy(),
        confidences=np.where(np.isnan(array[:, 6]), 1.0, array[:, 6]),
        classes=classes.clip(-1, MAX_FRAME).astype(np.int64),
        visibility=np.where(np.isnan(array[:, 8]), 1.0, array[:, 8]) if classed else np.ones(len(array)),
        classed=classed,
    )


def _is_classed(row: list[float]) -> bool:
    """Whether the columns behind the seventh can be a class and a visibility."""
    if len(row) < 8 or row[7] not in range(1, _LAST_CLASS + 1):
        return False
    return len(row) < 9 or 0 <= row[8] <= 1


def _row(line: str, file: Path, number: int) -> list[float]:
    def fail(problem: str, hint: str | None = None) -> NoReturn:
        raise MotTextError(f"{file}, line {number}: {problem}.", hint=hint)

    words = [word.strip() for word in line.split(",")] if "," in line else line.split()
    if words and not words[-1]:
        words.pop()
    if len(words) < 6:
        fail(
            f"expected at least 6 numbers (frame, id, left, top, width, height), found {len(words)} in {line[:60]!r}",
            "Expected MOTChallenge text, one box a line.",
        )
    row: list[float] = []
    for column, word in enumerate(words):
        name = _COLUMNS[column] if column < len(_COLUMNS) else f"column {column + 1}"
        try:
            value = float(word)
        except ValueError:
            fail(f"expected a number as {name}, found {word[:40]!r}")
        if not math.isfinite(value):
            fail(f"expected a finite number as {name}, found {word!r}")
        row.append(value)
    if row[0] != int(row[0]) or not 1 <= row[0] <= MAX_FRAME:
        hint = "MOTChallenge counts frames from 1; add 1 to every frame." if row[0] == 0 else None
        fail(f"expected a whole frame number from 1 on, found {words[0]}", hint)
    if row[1] != int(row[1]) or abs(row[1]) > MAX_FRAME:
        fail(f"expected a whole number as id, found {words[1]}")
    if row[4] < 0 or row[5] < 0:
        fail(f"expected a width and a height of at least 0, found {words[4]} and {words[5]}")
    return row
