"""How times, ids and figures are written in results."""

from __future__ import annotations

from typing import Any

from tracking.frame_times import FrameTimes

__all__ = ["format_end", "format_seconds", "format_time", "natural_key", "round_or_none", "without_none"]


def format_time(frame: int, times: FrameTimes) -> str:
    """Format a frame's time, or its number where times are unknown."""
    seconds = times.at(frame)
    return f"frame {frame}" if seconds is None else format_seconds(seconds)


def format_end(frame: int, times: FrameTimes) -> str:
    """Format the time at which a frame ends, or its number where times are unknown."""
    seconds = times.end(frame)
    return f"frame {frame}" if seconds is None else format_seconds(seconds)


def format_seconds(seconds: float) -> str:
    """Format a time as ``1:02.5`` or ``1:00:02``."""
    # Rounded to tenths before it is divided: 59.96 s are 1:00.0, not 0:60.0.
    tenths = round(seconds * 10)
    minutes, seconds = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds // 10:02d}" if hours else f"{minutes}:{seconds // 10:02d}.{seconds % 10}"


def natural_key(text: str) -> tuple[int, int, str]:
    """Return a sort key for ids: whole numbers by value, before words."""
    return (0, int(text), text) if text.isdecimal() and len(text) < 19 else (1, 0, text)


def round_or_none(value: float | None, digits: int) -> float | None:
    """Round a value for JSON; None stays None."""
    return None if value is None else round(value, digits)


def without_none(**items: Any) -> dict[str, Any]:
    """Return the items that are not None: as in track-v1, unknown values are left out."""
    return {key: value for key, value in items.items() if value is not None}
