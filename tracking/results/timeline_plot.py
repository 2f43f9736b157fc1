"""The timeline as a picture: a row for each identity, in colours for the confidence of its name."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gallery_db.distribution import require_package
from gallery_db.visible_text import visible
from tracking.errors import OptionError
from tracking.results.confidence import confidence_legend, confidence_level
from tracking.results.header import video_name
from tracking.results.issues import MARKED_ISSUES
from tracking.results.sightings import Kind, TimelineRow
from tracking.results.sinks import ExportedFile, atomic_output
from tracking.results.timeline import Timeline

__all__ = ["PLOT_SUFFIXES", "plot_timeline"]

PLOT_SUFFIXES = (".png", ".svg", ".pdf")

# Blue and orange differ for every kind of colour vision, and in lightness.
_COLOURS = {"confident": "#1f5fa8", "fair": "#7fb2e5", "near": "#e8871e", "named": "#1f5fa8", "none": "#a7adb5"}
_MARK_COLOUR = "#b3261e"
_TEXT, _FAINT = "#22252a", "#6b7280"
_SECTIONS: dict[Kind, str] = {
    "known": "known identities",
    "unknown": "unknown identities",
    "unnamed": "tracks without a name",
}
_LABEL_LENGTH = 24
_ROW_INCHES, _MIN_INCHES, _MARGIN_INCHES = 0.27, 2.4, 1.35
_SECTION_ROWS = 1.1
"""Height of a section's heading, in rows."""
_MAX_ROWS = 150


def plot_timeline(timeline: Timeline, path: Path, *, max_rows: int = _MAX_ROWS) -> ExportedFile:
    """Draw a timeline.

    Args:
        timeline: The timeline.
        path: The picture: .png, .svg or .pdf.
        max_rows: Number of rows at most; those with the most frames are drawn.

    Raises:
        OptionError: The path has another suffix.
        OutputError: The picture cannot be written.
        MissingPackageError: Matplotlib is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in PLOT_SUFFIXES:
        raise OptionError(f"expected a picture of {', '.join(PLOT_SUFFIXES)}, found {path.name!r}.")
    require_package("matplotlib", "plots", "A plot")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    chosen = sorted(timeline.rows, key=lambda row: (row.kind == "unnamed", -row.frames))[:max_rows]
    chosen_ids = {id(row) for row in chosen}
    rows = [row for row in timeline.rows if id(row) in chosen_ids]
    # Figure instead of pyplot: no window system and no global state is touched. Rows keep their height in inches.
    sections = len({row.kind for row in rows})
    rows_inches = _ROW_INCHES * (len(rows) + _SECTION_ROWS * sections)
    height = _MARGIN_INCHES + max(_MIN_INCHES - _MARGIN_INCHES, rows_inches)
    figure = Figure(figsize=(11, height), dpi=120, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.19, 0.62 / height, 0.705, 1 - _MARGIN_INCHES / height))
    _draw_rows(axes, rows, timeline)
    _style_axes(axes, rows, timeline)
    left_out = len(timeline.rows) - len(rows)
    _draw_title(figure, timeline, left_out, height)
    with atomic_output(path) as temporary, warnings.catch_warnings():
        # Matplotlib's own font has no Chinese letters, for example; it draws boxes for them.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(temporary, format=suffix[1:])
    notes = (f"{left_out} shorter rows are left out of the picture.",) if left_out else ()
    return ExportedFile(path, "timeline", len(rows), notes=notes)


def _positions(rows: Sequence[TimelineRow]) -> Iterator[tuple[float, TimelineRow, bool]]:
    """Yield (y, row, whether a section starts with it), from the top."""
    y, kind = 0.0, None
    for row in rows:
        starts = row.kind != kind
        kind = row.kind
        y += _SECTION_ROWS if starts else 0.0
        yield y, row, starts
        y += 1


def _draw_rows(axes: Any, rows: Sequence[TimelineRow], timeline: Timeline) -> None:
    first, last = _span(timeline)
    times = timeline.times
    min_width = (last - first) / 900  # a sighting of one frame is still visible
    beside = axes.get_yaxis_transform()
    y_of_identity: dict[str, float] = {}
    for y, row, starts in _positions(rows):
        if starts:
            axes.text(0, y - 0.66, _SECTIONS[row.kind], transform=beside, color=_FAINT, va="center", fontsize=8.5)
        if row.identity is not None:
            y_of_identity[row.identity] = y
        start, end = times.position(row.first), times.end_position(row.last)
        axes.plot([start, end], [y, y], color="#d5d9de", linewidth=1, zorder=1, solid_capstyle="butt")
        for sighting in row.sightings:
            left = times.position(sighting.first)
            width = max(times.end_position(sighting.last) - left, min_width)
            colour = _COLOURS[confidence_level(sighting, timeline.threshold)]
            axes.barh(y, width, left=left, height=0.62, color=colour, zorder=2)
        # parse_math: a dollar sign in a name starts no formula.
        axes.text(-0.01, y, _shorten(row.label), transform=beside, ha="right", va="center", color=_TEXT, fontsize=9,
                  parse_math=False)  # fmt: skip
        seconds = times.duration(row.first, row.last, row.frames)
        duration = f"{row.frames}" if seconds is None else f"{seconds:.1f} s"
        distance = "" if row.mean_distance is None else f"  {row.mean_distance:.2f}"
        axes.text(1.01, y, f"{duration}{distance}", transform=beside, va="center", color=_FAINT, fontsize=8)
    marked = [i for i in timeline.issues if i.kind in MARKED_ISSUES and i.identity in y_of_identity]
    if marked:
        x, heights = [times.position(i.frame) for i in marked], [y_of_identity[i.identity] - 0.42 for i in marked]
        axes.scatter(x, heights, marker="v", s=20, color=_MARK_COLOUR, zorder=3, clip_on=False, linewidths=0)


def _style_axes(axes: Any, rows: Sequence[TimelineRow], timeline: Timeline) -> None:
    first, last = _span(timeline)
    are_known = timeline.times.are_known
    bottom = max((y + 1 for y, _, _ in _positions(rows)), default=0.0)
    axes.set_xlim(first, last)
    axes.set_ylim(max(bottom, 1.0) - 0.4, 0.2)
    axes.set_yticks([])
    axes.xaxis.set_major_formatter(_format_seconds if are_known else "{x:.0f}")
    axes.set_xlabel("time in the video" if are_known else "frame", color=_FAINT, fontsize=9)
    axes.tick_params(axis="x", colors=_FAINT, labelsize=8.5)
    axes.grid(axis="x", color="#eceff2", zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#c9ccd1")


def _draw_title(figure: Any, timeline: Timeline, left_out: int, height: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    name = video_name(timeline.header) or Path(timeline.name).name
    title = f"Timeline of {_shorten(name, 60)}" + (f" ({left_out} shorter rows left out)" if left_out else "")
    figure.text(0.02, 1 - 0.3 / height, title, fontsize=12, color=_TEXT, va="center", parse_math=False)
    sightings = (sighting for row in timeline.rows for sighting in row.sightings)
    legend = confidence_legend(sightings, timeline.threshold)
    handles: list[Any] = [Patch(color=_COLOURS[level], label=text) for level, text in legend]
    if any(issue.kind in MARKED_ISSUES for issue in timeline.issues):
        handles.append(
            Line2D([], [], marker="v", linestyle="", color=_MARK_COLOUR, markersize=5, label="name to check")
        )
    if handles:
        figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.013, 1 - 0.42 / height), ncols=5,
                      frameon=False, fontsize=8.5, handlelength=1.2, columnspacing=1.4, labelcolor=_TEXT)  # fmt: skip
    heading = "duration  distance" if timeline.times.are_known else "frames  distance"
    figure.text(0.902, 1 - 0.8 / height, heading, fontsize=8, color=_FAINT, va="center")


def _span(timeline: Timeline) -> tuple[float, float]:
    """Return the beginning of the first frame and the end of the last, on the axis."""
    first, last = timeline.first_frame or 0, timeline.last_frame or 0
    return timeline.times.position(first), timeline.times.end_position(max(first, last))


def _format_seconds(seconds: float, position: object) -> str:
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    tail = f"{rest:04.1f}" if rest % 1 else f"{int(rest):02d}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"


def _shorten(text: str, length: int = _LABEL_LENGTH) -> str:
    """Cut a long text in its middle: names may differ at their beginnings as well as at their ends."""
    line = visible(" ".join(text.split()))
    return line if len(line) <= length else f"{line[: length // 2]}…{line[-(length - length // 2 - 1) :]}"
