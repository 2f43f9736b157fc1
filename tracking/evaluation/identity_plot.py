"""A picture of an `IdentityReport`: who was named how and when, and what a stricter threshold would do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from gallery_db import atomic_path
from gallery_db.distribution import require_package
from tracking.errors import OutputError
from tracking.evaluation.identity import RIGHT, UNCOVERED, UNNAMED, WRONG, IdentityReport

__all__ = ["plot_identity"]

_COLOURS = {RIGHT: "#2a9d5c", WRONG: "#d1423f", UNNAMED: "#f0b840", UNCOVERED: "#c9ccd1"}
_WORDS = {RIGHT: "named rightly", WRONG: "named wrongly", UNNAMED: "unnamed", UNCOVERED: "no track"}
_STRANGER = "#7a56b5"
_PRECISION = "#2d6cdf"


def plot_identity(report: IdentityReport, path: str | os.PathLike[str], *, title: str = "") -> None:
    """Draw a report: a line a person over time, and the figures over thresholds.

    Args:
        report: What to draw.
        path: The picture; its suffix chooses the format (.png, .svg, .pdf).
        title: What stands above.

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
    # Figure and not pyplot: no window system and no global state is touched.
    figure = Figure(figsize=(11, 3.6 + 0.32 * len(report.people)), layout="constrained")
    FigureCanvasAgg(figure)
    timeline, curve = figure.subplots(2, 1, height_ratios=[0.32 * len(report.people) + 0.6, 3.0])
    _draw_timeline(timeline, report)
    _draw_curve(curve, report)
    if title:
        # Names with a dollar sign in them are no formulas.
        figure.suptitle(title.replace("$", r"\$"), fontsize=11)
    try:
        with atomic_path(target) as part:
            figure.savefig(part, format=suffix, dpi=120)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}.") from error


def _draw_timeline(axes: Any, report: IdentityReport) -> None:
    for row, person in enumerate(report.people):
        mine = np.flatnonzero(report.person_of == row)
        frames, verdicts = report.frame_of[mine], report.verdict_of[mine]
        for verdict, colour in _COLOURS.items():
            there = np.sort(frames[verdicts == verdict])
            runs = np.split(there, np.flatnonzero(np.diff(there) > 1) + 1) if len(there) else []
            spans = [(int(run[0]) - 0.5, len(run)) for run in runs]
            axes.broken_barh(spans, (row - 0.36, 0.72), color=colour, linewidth=0)
        if not person.known:
            axes.annotate("stranger", (1.005, row), xycoords=("axes fraction", "data"), fontsize=7, va="center")
    axes.set_yticks(range(len(report.people)), [p.name.replace("$", r"\$") for p in report.people], fontsize=8)
    axes.set_ylim(len(report.people) - 0.4, -0.6)
    axes.set_xlim(report.frames[0] - 0.5, report.frames[1] + 0.5)
    axes.set_xlabel("frame")
    handles = [_patch(_COLOURS[verdict], _WORDS[verdict]) for verdict in _COLOURS]
    axes.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, fontsize=8, frameon=False)


def _patch(colour: str, label: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(color=colour, label=label)


def _draw_curve(axes: Any, report: IdentityReport) -> None:
    if not report.curve:
        axes.text(0.5, 0.5, report.curve_note, ha="center", va="center", wrap=True)
        axes.set_axis_off()
        return
    thresholds = [point.threshold for point in report.curve]
    strangers = sum(p.frames for p in report.strangers)
    axes.plot(thresholds, [point.precision for point in report.curve], color=_PRECISION, label="precision")
    axes.plot(thresholds, [point.recall for point in report.curve], color=_COLOURS[RIGHT], label="recall")
    if strangers:
        shares = [point.strangers_named / strangers for point in report.curve]
        axes.plot(thresholds, shares, color=_STRANGER, linestyle="--", label="strangers named by mistake")
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("largest accepted cosine distance (names of this run beyond it taken off)")
    axes.set_ylabel("share of person-frames")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center left")
