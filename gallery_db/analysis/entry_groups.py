"""Which entries of an identity were seen together: one camera, one video, one moment, one burst of images.

Images of one burst are nearly the same picture; how far apart they are says little of how far a person is from
themselves an hour later. Package-internal, for `gallery_db.analysis.calibration`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np

from gallery_db.entry import Entry
from gallery_db.media.market_names import market_name

__all__ = ["EntryGroups", "Separation", "camera_of", "group_entries"]

_GAP = 10.0  # seconds out of sight, after which somebody is seen anew
_USUAL_RATE = 25.0  # frames a second, where an entry does not tell


class Separation(IntEnum):
    """What tells the appearances of an identity from one another; the higher, the more they may differ."""

    NOTHING = 0
    FILE_ORDER = 1
    SOURCE = 2
    CAMERA = 3


@dataclass(frozen=True, slots=True)
class EntryGroups:
    """The entries of one identity, by appearance.

    Attributes:
        groups: Positions in the entries, each in one group, in the order in which they were seen.
        apart: What the groups are told apart by.
    """

    groups: tuple[tuple[int, ...], ...]
    apart: Separation


def camera_of(entry: Entry) -> str | None:
    """The camera that an entry tells of: that of its enrolment, or that in a file name of Market-1501's kind."""
    camera = entry.extra.get("source_id")
    if isinstance(camera, str) and camera:
        return camera
    named = market_name(entry.source) if entry.origin == "image" else None
    return f"c{named.camera}" if named else None


def group_entries(entries: Sequence[Entry], burst: int) -> EntryGroups:
    """Group an identity's entries by what they tell: cameras, else sources and times, else the files' order.

    Args:
        entries: Of one identity and class.
        burst: How many files that follow one another are taken for one burst, where there is nothing else.
    """
    order = sorted(range(len(entries)), key=lambda row: _when(entries[row]))
    cameras = [camera_of(entry) for entry in entries]
    if len({camera for camera in cameras if camera is not None}) > 1:
        return EntryGroups(
            _by(order, lambda row: (cameras[row] is None, cameras[row] or _place(entries[row]))), Separation.CAMERA
        )
    moments = _moments(entries, order)
    if len(set(moments.values())) > 1:
        return EntryGroups(_by(order, moments.__getitem__), Separation.SOURCE)
    if len(entries) > 1:
        blocks = np.array_split(np.asarray(order), max(2, round(len(entries) / burst)))
        return EntryGroups(tuple(tuple(block.tolist()) for block in blocks if len(block)), Separation.FILE_ORDER)
    return EntryGroups(tuple((row,) for row in order), Separation.NOTHING)


def _by(order: Sequence[int], key: Callable[[int], Hashable]) -> tuple[tuple[int, ...], ...]:
    groups: dict[Hashable, list[int]] = {}
    for row in order:
        groups.setdefault(key(row), []).append(row)
    return tuple(tuple(rows) for rows in groups.values())


def _place(entry: Entry) -> str:
    """The folder of an image, the video of anything that has a frame."""
    return entry.source if entry.frame is not None or entry.origin == "track" else str(Path(entry.source).parent)


def _when(entry: Entry) -> tuple[str, float, list[tuple[int, int | str]]]:
    numbers = re.split(r"(\d+)", Path(entry.source).name)
    natural: list[tuple[int, int | str]] = [(0, int(p)) if p.isdecimal() else (1, p) for p in numbers if p]
    return _place(entry), _span(entry)[0], natural


def _span(entry: Entry) -> tuple[float, float]:
    """When an entry was seen first and last, in seconds of its video; 0 for an image file."""
    first, last = entry.extra.get("first_time"), entry.extra.get("last_time")
    if isinstance(first, (int, float)) and isinstance(last, (int, float)):
        return float(first), float(last)
    first, last = entry.extra.get("first_frame", entry.frame), entry.extra.get("last_frame", entry.frame)
    if isinstance(first, (int, float)) and isinstance(last, (int, float)):
        return float(first) / _USUAL_RATE, float(last) / _USUAL_RATE
    return 0.0, 0.0


def _moments(entries: Sequence[Entry], order: Sequence[int]) -> dict[int, tuple[str, int]]:
    """The place of each entry and the number of the visit there: a tracker breaks one visit into many tracks."""
    found: dict[int, tuple[str, int]] = {}
    place, visit, until = "", 0, 0.0
    for row in order:
        here, (first, last) = _place(entries[row]), _span(entries[row])
        if here != place:
            place, visit, until = here, 0, last
        elif first - until > _GAP:
            visit += 1
        until = max(until, last)
        found[row] = (place, visit)
    return found
