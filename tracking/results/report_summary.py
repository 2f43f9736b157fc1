"""The summary of a report: its figures, the facts of the run, and the run's settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tracking.results.formatting import format_seconds
from tracking.results.header import mapping_or_empty, tracker_config
from tracking.results.timeline import Timeline

__all__ = ["run_facts", "settings_tables", "summary_figures"]

_MAX_VALUE_LENGTH = 500


def summary_figures(timeline: Timeline) -> list[tuple[str, str]]:
    """Return (figure, meaning) of the figures at the top of the report."""
    length = 0 if timeline.first_frame is None else (timeline.last_frame or 0) + 1 - timeline.first_frame
    figures = [
        (str(len(timeline.of_kind("known"))), "known identities"),
        (str(len(timeline.of_kind("unknown"))), "unknown identities"),
    ]
    if timeline.has_tracks:
        figures.append((str(len(timeline.of_kind("unnamed"))), "tracks without a name"))
        figures.append((f"{timeline.tracks:,}", "tracks in total"))
    share = f"{timeline.named / timeline.tracked:.0%}" if timeline.tracked else "none"
    figures.append((share, "of tracked boxes have a name"))
    times = timeline.times
    start, end = times.at(timeline.first_frame or 0), times.end(timeline.last_frame or 0)
    if start is None or end is None or not length:
        figures.append((f"{length:,}", "frames"))
    else:
        figures.append((format_seconds(end - start), "duration"))
    figures.append((str(len(timeline.issues)), "issues to check"))
    return figures


def run_facts(timeline: Timeline) -> list[str]:
    """Return the facts of the run that stand below the title."""
    tracker = mapping_or_empty(timeline.header.get("tracker"))
    config = tracker_config(timeline.header)
    facts = [f"{timeline.frames:,} frames, {timeline.detections:,} detections, {timeline.tracked:,} in tracks"]
    name = tracker.get("name")
    if name:
        facts.append(f"tracker {name}" + (f" ({config['temporal']})" if config.get("temporal") else ""))
    if config.get("gallery"):
        facts.append(f"gallery {config['gallery']}")
    if timeline.threshold is not None:
        facts.append(f"threshold {timeline.threshold:g} (largest accepted distance)")
    if timeline.header.get("created_at_utc"):
        facts.append(f"created {timeline.header['created_at_utc']}")
    return facts


def settings_tables(header: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the header as (title, rows of key and value), nested keys joined by dots."""
    tables = []
    rest = {}
    for key, value in header.items():
        if isinstance(value, Mapping):
            tables.append((str(key), list(_flatten(value, ""))))
        else:
            rest[key] = value
    return [*tables, ("document", list(_flatten(rest, "")))]


def _flatten(value: Any, prefix: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flatten(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        text = "not set" if value is None else "yes" if value is True else "no" if value is False else str(value)
        yield prefix, text if len(text) <= _MAX_VALUE_LENGTH else f"{text[: _MAX_VALUE_LENGTH - 3]}..."
