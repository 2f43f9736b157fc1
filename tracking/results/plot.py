"""The timeline as a picture: a line each for the people who were there, darker the surer."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tracking.errors import OptionError, OutputError
from tracking.results.header import video_name
from tracking.results.issues import NEAR
from tracking.results.presence import Presence, Stretch
from tracking.results.sinks import Exported, whole_file
from tracking.results.timelines import Timeline

__all__ = ["PLOT_SUFFIXES", "SURE", "plot_timeline", "surety"]

SURE = 0.6
"""Share of the threshold up to which a distance is sure, as for ``--enroll all``."""

PLOT_SUFFIXES = (".png", ".svg", ".pdf")

# Blue to orange can be told apart with every kind of colour vision, and by lightness.
_COLOURS = {"sure": "#1f5fa8", "fair": "#7fb2e5", "near": "#e8871e", "named": "#1f5fa8", "none": "#a7adb5"}
_SECTIONS = {"known": "known people", "unknown": "strangers with a name", "unnamed": "tracks without a name"}
_INK, _FAINT = "#22252a", "#6b7280"
_LABEL = 24
_ROW, _LEAST = 0.27, 2.4
_MOST_ROWS = 150


def surety(stretch: Stretch, threshold: float | None) -> str:
    """How sure a name is: ``sure``, ``fair``, ``near`` (the limit), ``named`` where that is unknown, ``none``."""
    if stretch.identity is None:
        return "none"
    if threshold is None or stretch.mean_distance is None:
        return "named"
    share = stretch.mean_distance / threshold - 1e-9
    return "sure" if share <= SURE else "fair" if share <= NEAR else "near"


def plot_timeline(timeline: Timeline, path: Path, *, most: int = _MOST_ROWS) -> Exported:
    """Draw a timeline.

    Args:
        timeline: What to draw.
        path: The picture: .png, .svg or .pdf.
        most: Lines at most; the longest stay.

    Raises:
        OptionError: The path's suffix is another.
        OutputError: Matplotlib is not installed, or the picture cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in PLOT_SUFFIXES:
        raise OptionError(f"expected a picture of {', '.join(PLOT_SUFFIXES)}, got {path.name!r}.")
    if find_spec("matplotlib") is None:
        raise OutputError("a picture needs Matplotlib, which is not installed.", hint="Run: pip install matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = sorted(timeline.presences, key=lambda p: (p.kind == "unnamed", -p.frames))[:most]
    chosen = {id(presence) for presence in shown}
    lines = [presence for presence in timeline.presences if id(presence) in chosen]
    # Figure and not pyplot: no window system and no global state is touched. Rows keep their height in inches.
    sections = len({presence.kind for presence in lines})
    height = 1.35 + max(_LEAST - 1.35, _ROW * (len(lines) + 1.1 * sections))
    figure = Figure(figsize=(11, height), dpi=120, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.19, 0.62 / height, 0.705, 1 - 1.35 / height))
    _draw(axes, lines, timeline)
    left_out = len(timeline.presences) - len(lines)
    _title(figure, timeline, left_out, height)
    with whole_file(path) as part, warnings.catch_warnings():
        # Matplotlib's own font knows no Chinese, say; boxes stand for what it lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(part, format=suffix[1:])
    note = (f"{left_out} more lines do not fit the picture; the longest are shown.",) if left_out else ()
    return Exported(path, "timeline", len(lines), notes=note)


def _draw(axes: Any, lines: list[Presence], timeline: Timeline) -> None:
    first, last = timeline.first_frame or 0, (timeline.last_frame or 0) + 1
    fps = timeline.fps
    scale = 1 / fps if fps else 1.0
    least = (last - first) * scale / 900  # a flash of one frame is still seen
    y = 0.0
    kind = None
    for presence in lines:
        if presence.kind != kind:
            kind = presence.kind
            y += 1.1
            axes.text(0, y - 0.66, _SECTIONS[kind], transform=axes.get_yaxis_transform(), color=_FAINT, va="center",
                      fontsize=8.5)  # fmt: skip
        start, end = presence.first * scale, (presence.last + 1) * scale
        axes.plot([start, end], [y, y], color="#d5d9de", linewidth=1, zorder=1, solid_capstyle="butt")
        for stretch in presence.stretches:
            width = max((stretch.last + 1 - stretch.first) * scale, least)
            colour = _COLOURS[surety(stretch, timeline.threshold)]
            axes.barh(y, width, left=stretch.first * scale, height=0.62, color=colour, zorder=2)
        axes.text(-0.01, y, _short(presence.label), transform=axes.get_yaxis_transform(), ha="right", va="center",
                  color=_INK, fontsize=9, parse_math=False)  # fmt: skip
        seen = f"{presence.frames / fps:.1f} s" if fps else f"{presence.frames}"
        distance = "" if presence.mean_distance is None else f"  {presence.mean_distance:.2f}"
        axes.text(1.01, y, f"{seen}{distance}", transform=axes.get_yaxis_transform(), va="center", color=_FAINT,
                  fontsize=8)  # fmt: skip
        y += 1
    _mark_doubts(axes, lines, timeline, scale)
    axes.set_xlim(first * scale, max(last, first + 1) * scale)
    axes.set_ylim(max(y, 1.0) - 0.4, 0.2)
    axes.set_yticks([])
    axes.xaxis.set_major_formatter(_clock if fps else "{x:.0f}")
    axes.set_xlabel("time" if fps else "frame", color=_FAINT, fontsize=9)
    axes.tick_params(axis="x", colors=_FAINT, labelsize=8.5)
    axes.grid(axis="x", color="#eceff2", zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#c9ccd1")


def _mark_doubts(axes: Any, lines: list[Presence], timeline: Timeline, scale: float) -> None:
    place: dict[str, float] = {}
    y, kind = 0.0, None
    for presence in lines:
        y += 1.1 if presence.kind != kind else 0.0
        kind = presence.kind
        if presence.identity is not None:
            place[presence.identity] = y
        y += 1
    marks = [d for d in timeline.doubts if d.kind in ("changed", "contested", "twice") and d.identity in place]
    if marks:
        x, heights = [d.frame * scale for d in marks], [place[d.identity] - 0.42 for d in marks]
        axes.scatter(x, heights, marker="v", s=20, color="#b3261e", zorder=3, clip_on=False, linewidths=0)


def _title(figure: Any, timeline: Timeline, left_out: int, height: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    name = video_name(timeline.header) or Path(timeline.name).name
    text = f"Who was there: {_short(name, 60)}" + (f" ({left_out} shorter lines left out)" if left_out else "")
    # Names with a dollar sign in them are no formulas: parse_math.
    figure.text(0.02, 1 - 0.3 / height, text, fontsize=12, color=_INK, va="center", parse_math=False)
    levels = dict.fromkeys(surety(s, timeline.threshold) for p in timeline.presences for s in p.stretches)
    threshold = timeline.threshold or 0.0
    words = {
        "sure": f"sure (distance to {SURE * threshold:.2g})",
        "fair": f"fair (to {NEAR * threshold:.2g})",
        "near": f"near the limit ({threshold:g})",
        "named": "named",
        "none": "no name",
    }
    handles: list[Any] = [Patch(color=_COLOURS[level], label=words[level]) for level in words if level in levels]
    if any(d.kind in ("changed", "contested", "twice") for d in timeline.doubts):
        handles.append(
            Line2D([], [], marker="v", linestyle="", color="#b3261e", markersize=5, label="name changed or contested")
        )
    if handles:
        figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.185, 1 - 0.42 / height), ncols=5,
                      frameon=False, fontsize=8.5, handlelength=1.2, columnspacing=1.4, labelcolor=_INK)  # fmt: skip
    figure.text(0.902, 1 - 0.58 / height, "seen, distance", fontsize=8, color=_FAINT, va="center")


def _clock(seconds: float, position: object) -> str:
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    tail = f"{rest:04.1f}" if rest % 1 else f"{int(rest):02d}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"


def _short(text: str, most: int = _LABEL) -> str:
    """Out of the middle: ends tell names apart as well as beginnings."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most // 2]}…{line[-(most - most // 2 - 1) :]}"
