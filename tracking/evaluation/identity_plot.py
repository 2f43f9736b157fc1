"""A picture of an `IdentityReport`: the names of each person over time, and the curve over thresholds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from gallery_db.distribution import require_package
from gallery_db.visible_text import visible
from tracking.errors import OutputError
from tracking.evaluation.identity_report import RIGHT, UNCOVERED, UNNAMED, WRONG, IdentityReport
from tracking.results.sinks import atomic_output

__all__ = ["plot_identity"]

_COLOURS = {RIGHT: "#2a9d5c", WRONG: "#d1423f", UNNAMED: "#f0b840", UNCOVERED: "#c9ccd1"}
_LABELS = {RIGHT: "right name", WRONG: "wrong name", UNNAMED: "no name", UNCOVERED: "no track"}
_STRANGER_COLOUR = "#7a56b5"
_PRECISION_COLOUR = "#2d6cdf"


def plot_identity(report: IdentityReport, path: str | os.PathLike[str], *, title: str = "") -> None:
    """Draw a report: a row for each person over time, and the figures over thresholds.

    Args:
        report: The report.
        path: The picture; its suffix selects the format (.png, .svg, .pdf).
        title: The title above the picture.

    Raises:
        OutputError: The picture cannot be written, or there is no such format.
        MissingPackageError: Matplotlib is not installed.
    """
    require_package("matplotlib", "plots", "A plot")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    target = Path(path)
    suffix = target.suffix.lower().removeprefix(".")
    if suffix not in FigureCanvasAgg.filetypes:
        raise OutputError(f"cannot write {target}: Matplotlib has no format {target.suffix!r}.", hint="Use .png.")
    # Figure instead of pyplot: no window system and no global state is touched.
    figure = Figure(figsize=(11, 3.6 + 0.32 * len(report.people)), layout="constrained")
    FigureCanvasAgg(figure)
    timeline, curve = figure.subplots(2, 1, height_ratios=[0.32 * len(report.people) + 0.6, 3.0])
    _draw_timeline(timeline, report)
    _draw_curve(curve, report)
    if title:
        figure.suptitle(_shown(title), fontsize=11)
    with atomic_output(target) as temporary:
        figure.savefig(temporary, format=suffix, dpi=120)


def _shown(name: str) -> str:
    """Return a name for Matplotlib, where a dollar sign starts no formula."""
    return visible(name).replace("$", r"\$")


def _draw_timeline(axes: Any, report: IdentityReport) -> None:
    from matplotlib.patches import Patch

    for row, person in enumerate(report.people):
        mine = np.flatnonzero(report.person_of == row)
        frames, outcomes = report.frame_of[mine], report.outcome_of[mine]
        for outcome, colour in _COLOURS.items():
            found = np.sort(frames[outcomes == outcome])
            runs = np.split(found, np.flatnonzero(np.diff(found) > 1) + 1) if len(found) else []
            spans = [(int(run[0]) - 0.5, len(run)) for run in runs]
            axes.broken_barh(spans, (row - 0.36, 0.72), color=colour, linewidth=0)
        if not person.known:
            axes.annotate("stranger", (1.005, row), xycoords=("axes fraction", "data"), fontsize=7, va="center")
    axes.set_yticks(range(len(report.people)), [_shown(p.name) for p in report.people], fontsize=8)
    axes.set_ylim(len(report.people) - 0.4, -0.6)
    axes.set_xlim(report.frames[0] - 0.5, report.frames[1] + 0.5)
    axes.set_xlabel("frame")
    handles = [Patch(color=colour, label=_LABELS[outcome]) for outcome, colour in _COLOURS.items()]
    axes.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, fontsize=8, frameon=False)


def _draw_curve(axes: Any, report: IdentityReport) -> None:
    if not report.curve:
        axes.text(0.5, 0.5, report.curve_note, ha="center", va="center", wrap=True)
        axes.set_axis_off()
        return
    thresholds = [point.threshold for point in report.curve]
    strangers = sum(p.frames for p in report.strangers)
    precision = [point.precision for point in report.curve]
    axes.plot(thresholds, precision, color=_PRECISION_COLOUR, label="precision (right names / names)")
    recall = [point.recall for point in report.curve]
    axes.plot(thresholds, recall, color=_COLOURS[RIGHT], label="recall (known people with the right name)")
    if strangers:
        shares = [point.strangers_named / strangers for point in report.curve]
        axes.plot(thresholds, shares, color=_STRANGER_COLOUR, linestyle="--", label="strangers named by mistake")
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("threshold: largest accepted cosine distance (names above it are removed)")
    axes.set_ylabel("share of person-frames")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center right")
