"""The chart of a report: the time axis, the bars of a row, and the path of a row in the image."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tracking.frame_times import FrameTimes
from tracking.results.confidence import confidence_level
from tracking.results.formatting import format_end, format_seconds, format_time
from tracking.results.sightings import Sighting, TimelineRow
from tracking.results.timeline import Timeline

__all__ = ["TimeAxis", "chart_bars", "path_points"]

_MAX_BARS = 500
"""Bars of one colour are merged where the gap between them is less than the time axis divided by this."""

_MIN_BAR_PERCENT = 0.3
_SECONDS_PER_TICK = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400]


class TimeAxis:
    """Converts frames to percentages of the report's time; to those of its frames where times are unknown."""

    def __init__(self, timeline: Timeline) -> None:
        self.times = timeline.times
        self.first = self.times.position(timeline.first_frame or 0)
        self.last = self.times.end_position(max(timeline.last_frame or 0, timeline.first_frame or 0))
        self.length = max(self.last - self.first, 1e-9)
        self.ticks = [(self._share(place), text) for place, text in self._ticks()]

    def _share(self, place: float) -> float:
        return round(100 * (place - self.first) / self.length, 3)

    def percent(self, frame: int) -> float:
        """Return the position at which a frame begins, in [0, 100]."""
        return self._share(self.times.position(frame))

    def end_percent(self, frame: int) -> float:
        """Return the position at which a frame ends, in [0, 100]."""
        return self._share(self.times.end_position(frame))

    def _ticks(self) -> Iterator[tuple[float, str]]:
        """Yield round times, at most ten, with their text."""
        in_seconds = self.times.are_known
        steps = _SECONDS_PER_TICK if in_seconds else [base * 10**power for power in range(9) for base in (1, 2, 5)]
        day = 24 * 3600.0
        step = next((s for s in steps if self.length <= 9 * s), day * math.ceil(self.length / (9 * day)))
        number = math.ceil(self.first / step - 1e-9)
        while number * step <= self.first + self.length + 1e-9:
            text = format_seconds(number * step) if in_seconds else f"{number * step:.0f}"
            yield number * step, text.removesuffix(".0") if step >= 1 else text
            number += 1


@dataclass(slots=True)
class _Bar:
    """Neighbouring sightings of one confidence level."""

    level: str
    first: int
    last: int
    sightings: list[Sighting]


def chart_bars(row: TimelineRow, timeline: Timeline, axis: TimeAxis) -> list[dict[str, Any]]:
    """Return the bars of a row: ``level``, ``x`` and ``width`` in percent, and ``text``."""
    times = axis.times
    min_gap = axis.length / _MAX_BARS
    bars: list[_Bar] = []
    for sighting in row.sightings:
        level = confidence_level(sighting, timeline.threshold)
        is_near = bars and times.position(sighting.first) - times.end_position(bars[-1].last) <= min_gap
        if is_near and bars[-1].level == level:
            bars[-1].last = max(bars[-1].last, sighting.last)
            bars[-1].sightings.append(sighting)
        else:
            bars.append(_Bar(level, sighting.first, sighting.last, [sighting]))
    return [
        {
            "level": bar.level,
            "x": axis.percent(bar.first),
            "width": round(max(axis.end_percent(bar.last) - axis.percent(bar.first), _MIN_BAR_PERCENT), 3),
            "text": _describe(bar, row, times),
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


def _describe(bar: _Bar, row: TimelineRow, times: FrameTimes) -> str:
    text = f"{row.label}, {format_time(bar.first, times)} to {format_end(bar.last, times)}"
    tracks = list(dict.fromkeys(s.track_id for s in bar.sightings if s.track_id is not None))
    if tracks and row.identity is not None:
        more = "" if len(tracks) < 6 else f" and {len(tracks) - 5} more"
        text += f", track {', '.join(tracks[:5])}{more}"
    known = [(s.mean_distance, s.frames) for s in bar.sightings if s.mean_distance is not None]
    if known:
        text += f", mean distance {sum(d * n for d, n in known) / sum(n for _, n in known):.3f}"
    return text
