"""The chart of a report: the time axis, the bars of a row, and the path of a row in the image."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tracking.results.confidence import confidence_level
from tracking.results.formatting import format_time
from tracking.results.sightings import Sighting, TimelineRow
from tracking.results.timeline import Timeline

__all__ = ["TimeAxis", "chart_bars", "path_points"]

_MAX_BARS = 500
"""Bars of one colour are merged where the gap between them is less than the time axis divided by this."""

_MIN_BAR_PERCENT = 0.3
_SECONDS_PER_TICK = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400]


class TimeAxis:
    """Converts frames to percentages of the report's time."""

    def __init__(self, timeline: Timeline) -> None:
        self.first = timeline.first_frame or 0
        self.last = max((timeline.last_frame or 0) + 1, self.first + 1)
        self.fps = timeline.fps
        self.ticks = [(self.percent(frame), text) for frame, text in self._ticks()]

    def percent(self, frame: float) -> float:
        """Return the position of a frame, in [0, 100]."""
        return round(100 * (frame - self.first) / (self.last - self.first), 3)

    def _ticks(self) -> Iterator[tuple[float, str]]:
        """Yield round times, at most ten, with their text."""
        unit = self.fps or 1.0
        steps = _SECONDS_PER_TICK if self.fps else [base * 10**power for power in range(9) for base in (1, 2, 5)]
        length = (self.last - self.first) / unit
        day = 24 * 3600.0
        step = next((s for s in steps if length <= 9 * s), day * math.ceil(length / (9 * day)))
        number = -(-self.first // (step * unit))
        while number * step * unit <= self.last:
            frame = number * step * unit
            text = format_time(frame, self.fps) if self.fps else f"{frame:.0f}"
            yield frame, text.removesuffix(".0") if step >= 1 else text
            number += 1


@dataclass(slots=True)
class _Bar:
    """Neighbouring sightings of one confidence level; `last` is excluded."""

    level: str
    first: int
    last: int
    sightings: list[Sighting]


def chart_bars(row: TimelineRow, timeline: Timeline, axis: TimeAxis) -> list[dict[str, Any]]:
    """Return the bars of a row: ``level``, ``x`` and ``width`` in percent, and ``text``."""
    min_gap = (axis.last - axis.first) / _MAX_BARS
    bars: list[_Bar] = []
    for sighting in row.sightings:
        level = confidence_level(sighting, timeline.threshold)
        if bars and bars[-1].level == level and sighting.first - bars[-1].last <= min_gap:
            bars[-1].last = max(bars[-1].last, sighting.last + 1)
            bars[-1].sightings.append(sighting)
        else:
            bars.append(_Bar(level, sighting.first, sighting.last + 1, [sighting]))
    return [
        {
            "level": bar.level,
            "x": axis.percent(bar.first),
            "width": round(max(axis.percent(bar.last) - axis.percent(bar.first), _MIN_BAR_PERCENT), 3),
            "text": _describe(bar, row, timeline.fps),
        }
        for bar in bars
    ]


def path_points(row: TimelineRow) -> list[str]:
    """Return the path of a row as SVG points, one polyline for each uninterrupted time in view."""
    lines: list[list[str]] = []
    before: set[int] = set()
    for frame, x, y in row.path:
        now = {i for i, sighting in enumerate(row.sightings) if sighting.first <= frame <= sighting.last}
        if not lines or not now & before:
            # The first point twice, so that a single point is drawn as a dot.
            lines.append([f"{x:g},{y:g}"])
        lines[-1].append(f"{x:g},{y:g}")
        before = now
    return [" ".join(points) for points in lines]


def _describe(bar: _Bar, row: TimelineRow, fps: float | None) -> str:
    text = f"{row.label}, {format_time(bar.first, fps)} to {format_time(bar.last, fps)}"
    tracks = list(dict.fromkeys(s.track_id for s in bar.sightings if s.track_id is not None))
    if tracks and row.identity is not None:
        more = "" if len(tracks) < 6 else f" and {len(tracks) - 5} more"
        text += f", track {', '.join(tracks[:5])}{more}"
    known = [(s.mean_distance, s.frames) for s in bar.sightings if s.mean_distance is not None]
    if known:
        text += f", mean distance {sum(d * n for d, n in known) / sum(n for _, n in known):.3f}"
    return text
