"""Read MOTChallenge text: ground truth, detections and results, with one box in each line.

These files count frames from 1, gtrack counts from 0. Frame numbers are converted in this module, and nowhere else.
Pixel coordinates are not changed, as in TrackEval.
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

from gallery_db.limits import MAX_SIDECAR_BYTES, MOT_TEXT_BYTES
from gallery_db.regular_files import read_regular_text
from tracking.errors import MotTextError, error_line
from tracking.geometry import LARGEST_NUMBER
from tracking.json_stream import show

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
        ltwh: (N, 4) float64: left, top, width, height in pixels; finite, no side below 0.
        confidences: (N,) float64: the seventh column, 1 if it is missing. In ground truth, 0 marks a row to ignore.
        classes: (N,) int64: the eighth column, -1 if it is missing or not an integer.
        visibility: (N,) float64 in [0, 1]: the ninth column if `classed`, else 1.
        classed: Whether the eighth column holds classes, as in MOT16 and later. In MOT15 it is a world coordinate.
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
        """(N, 4) float64: the boxes as xyxy."""
        return np.concatenate([self.ltwh[:, :2], self.ltwh[:, :2] + self.ltwh[:, 2:]], axis=1)


@dataclass(frozen=True, slots=True)
class MotSequence:
    """The file of a sequence, and the facts in ``seqinfo.ini``; None for facts that it does not state.

    Attributes:
        name: Name of the sequence, for messages.
        file: The text file.
        frame_count: Number of frames.
        fps: Frames per second.
        width, height: Size of the frames in pixels.
    """

    name: str
    file: Path
    frame_count: int | None = None
    fps: float | None = None
    width: int | None = None
    height: int | None = None


def find_mot_sequence(path: str | os.PathLike[str], part: str) -> MotSequence:
    """Find a MOTChallenge file, and read the facts about its sequence.

    Args:
        path: A text file, or a sequence folder (with ``gt/gt.txt``, ``det/det.txt``, ``seqinfo.ini``).
        part: ``"gt"`` or ``"det"``: the file to find.

    Raises:
        MotTextError: There is no such file or folder, or ``seqinfo.ini`` is damaged.
    """
    location = Path(path)
    if location.is_dir():
        file = location / part / f"{part}.txt"
        if not file.is_file():
            raise MotTextError(
                f"{location}: expected the folder of a MOTChallenge sequence, with {part}/{part}.txt in it.",
                hint=f"Give the sequence's folder, or the {part}.txt itself.",
            )
        folder = location
    else:
        if not location.is_file():
            raise MotTextError(
                f"{location}: there is no such file.", hint=f"Give a MOTChallenge {part}.txt, or a sequence's folder."
            )
        file = location
        folder = location.parent.parent if location.parent.name == part else location.parent
    facts = _sequence_facts(folder / "seqinfo.ini")
    name = facts.get("name") or (folder.name if location.is_dir() or location.parent.name == part else file.stem)

    def number(key: str) -> float | None:
        if key not in facts:
            return None
        try:
            value = float(facts[key])
        except ValueError:
            value = math.nan
        if not 0 < value < MAX_FRAME:
            raise MotTextError(f"{folder / 'seqinfo.ini'}: expected {key} above 0, found {show(facts[key])}.")
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
    """Read the section ``[Sequence]`` of a ``seqinfo.ini``; empty if there is no such file."""
    if not file.is_file():
        return {}
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(read_regular_text(file, MAX_SIDECAR_BYTES, "utf-8-sig"))
    except (configparser.Error, UnicodeDecodeError, OSError) as error:
        raise MotTextError(f"{file}: cannot be read: {error_line(error)}.", hint="Correct it, or remove it.") from error
    return dict(parser["Sequence"]) if parser.has_section("Sequence") else {}


def read_mot(path: str | os.PathLike[str], *, unique_ids: bool = True) -> MotRows:
    """Read a MOTChallenge text file: ``frame, id, left, top, width, height[, confidence, class, visibility]``.

    Columns are separated by commas or white space. Empty lines and lines that start with ``#`` are ignored. Rows may be
    in any order. A file without rows is valid.

    Args:
        path: The file.
        unique_ids: Raise an error if a frame has an id twice. False for detections, whose ids are all -1.

    Raises:
        MotTextError: The file cannot be read, or a line is not a valid row; names the line.
    """
    file = Path(path)
    try:
        text = read_regular_text(file, MOT_TEXT_BYTES.value, "utf-8-sig", MOT_TEXT_BYTES.describe())
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
        row = _parse_row(line, file, number)
        if unique_ids and (first := seen.setdefault((int(row[0]), int(row[1])), number)) != number:
            raise MotTextError(
                f"{file}, line {number}: frame {row[0]:g} has id {row[1]:g} already, in line {first}.",
                hint="An id is for one object, so it may occur once in a frame.",
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
    """Whether the columns after the seventh can be a class and a visibility."""
    if len(row) < 8 or row[7] not in range(1, _LAST_CLASS + 1):
        return False
    return len(row) < 9 or 0 <= row[8] <= 1


def _parse_row(line: str, file: Path, number: int) -> list[float]:
    """Parse one line.

    Raises:
        MotTextError: It is not a valid row.
    """

    def fail(problem: str, hint: str | None = None) -> NoReturn:
        raise MotTextError(f"{file}, line {number}: {problem}.", hint=hint)

    words = [word.strip() for word in line.split(",")] if "," in line else line.split()
    if words and not words[-1]:
        words.pop()
    if len(words) < 6:
        fail(
            f"expected at least 6 numbers (frame, id, left, top, width, height), found {len(words)} in {line[:60]!r}",
            "Give a MOTChallenge text file, with one box in each line.",
        )
    row: list[float] = []
    for column, word in enumerate(words):
        name = _COLUMNS[column] if column < len(_COLUMNS) else f"column {column + 1}"
        try:
            value = float(word)
        except ValueError:
            fail(f"expected a number as {name}, found {word[:40]!r}")
        if not abs(value) <= LARGEST_NUMBER:  # not NaN either
            fail(f"expected a finite number as {name}, at most {LARGEST_NUMBER:g}, found {show(word)}")
        row.append(value)
    if row[0] != int(row[0]) or not 1 <= row[0] <= MAX_FRAME:
        hint = "MOTChallenge counts frames from 1; add 1 to every frame." if row[0] == 0 else None
        fail(f"expected an integer frame number of at least 1, found {words[0][:40]}", hint)
    if row[1] != int(row[1]) or abs(row[1]) > MAX_FRAME:
        fail(f"expected an integer id, found {words[1][:40]}")
    if row[4] < 0 or row[5] < 0:
        fail(f"expected a width and a height of at least 0, found {words[4][:40]} and {words[5][:40]}")
    return row
