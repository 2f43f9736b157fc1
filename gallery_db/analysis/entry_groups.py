"""Group the entries of an identity that were seen together: by one camera, in one visit, or in one burst of images.

Entries of one group are nearly the same picture, so their distances do not show how far a person is from themselves
an hour later. A calibration therefore compares a probe only with entries of other groups.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np

from gallery_db.entry import Entry
from gallery_db.spaces.cameras import camera_of

__all__ = ["EntryGroups", "Separation", "group_entries"]

_VISIT_GAP = 10.0  # seconds out of sight after which the same person at the same place counts as a new visit
_DEFAULT_FRAME_RATE = 25.0  # frames per second, where an entry has no time


class Separation(IntEnum):
    """What distinguishes the groups of an identity's entries; with a higher value, groups may differ more."""

    NOTHING = 0
    FILE_ORDER = 1
    SOURCE = 2
    CAMERA = 3


@dataclass(frozen=True, slots=True)
class EntryGroups:
    """The entries of one identity, in groups that were seen together.

    Attributes:
        groups: Positions of the entries; each entry is in one group, in the order in which they were seen.
        separation: What distinguishes the groups.
    """

    groups: tuple[tuple[int, ...], ...]
    separation: Separation


def group_entries(entries: Sequence[Entry], burst: int) -> EntryGroups:
    """Group an identity's entries by the best information that they have.

    This is the camera if there are several, else the source and the time, else the order of the files.

    Args:
        entries: Of one identity and class.
        burst: Number of consecutive files to take for one burst of images if there is no other information.
    """
    order = sorted(range(len(entries)), key=lambda position: _order_key(entries[position]))
    cameras = [camera_of(entry) for entry in entries]
    if len({camera for camera in cameras if camera is not None}) > 1:
        return EntryGroups(
            _group_by(
                order, lambda position: (cameras[position] is None, cameras[position] or _place(entries[position]))
            ),
            Separation.CAMERA,
        )
    visits = _visits(entries, order)
    if len(set(visits.values())) > 1:
        return EntryGroups(_group_by(order, visits.__getitem__), Separation.SOURCE)
    if len(entries) > 1:
        blocks = np.array_split(np.asarray(order), max(2, round(len(entries) / burst)))
        return EntryGroups(tuple(tuple(block.tolist()) for block in blocks if len(block)), Separation.FILE_ORDER)
    return EntryGroups(tuple((position,) for position in order), Separation.NOTHING)


def _group_by(order: Sequence[int], key: Callable[[int], Hashable]) -> tuple[tuple[int, ...], ...]:
    """Group positions with the same key; groups and positions stay in order."""
    groups: dict[Hashable, list[int]] = {}
    for position in order:
        groups.setdefault(key(position), []).append(position)
    return tuple(tuple(positions) for positions in groups.values())


def _place(entry: Entry) -> str:
    """Return the video of an entry that has a frame, or the folder of an image."""
    return entry.source if entry.frame is not None or entry.origin == "track" else str(Path(entry.source).parent)


def _order_key(entry: Entry) -> tuple[str, float, list[tuple[int, int | str]]]:
    """Return a key that sorts by place, time and file name, with numbers in names by value (2 before 10)."""
    parts = re.split(r"(\d+)", Path(entry.source).name)
    natural: list[tuple[int, int | str]] = [(0, int(p)) if p.isdecimal() else (1, p) for p in parts if p]
    return _place(entry), _time_span(entry)[0], natural


def _time_span(entry: Entry) -> tuple[float, float]:
    """Return when an entry was first and last seen, in seconds of its video; 0 for an image file."""
    first, last = entry.extra.get("first_time"), entry.extra.get("last_time")
    if isinstance(first, (int, float)) and isinstance(last, (int, float)):
        return float(first), float(last)
    first, last = entry.extra.get("first_frame", entry.frame), entry.extra.get("last_frame", entry.frame)
    if isinstance(first, (int, float)) and isinstance(last, (int, float)):
        return float(first) / _DEFAULT_FRAME_RATE, float(last) / _DEFAULT_FRAME_RATE
    return 0.0, 0.0


def _visits(entries: Sequence[Entry], order: Sequence[int]) -> dict[int, tuple[str, int]]:
    """Return the place and the number of the visit for each position; one visit may consist of many tracks."""
    found: dict[int, tuple[str, int]] = {}
    place, visit, visit_end = "", 0, 0.0
    for position in order:
        here, (first, last) = _place(entries[position]), _time_span(entries[position])
        if here != place:
            place, visit, visit_end = here, 0, last
        elif first - visit_end > _VISIT_GAP:
            visit += 1
        visit_end = max(visit_end, last)
        found[position] = (place, visit)
    return found
