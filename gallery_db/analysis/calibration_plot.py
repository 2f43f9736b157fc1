"""A picture of what a calibration found: how far people are from themselves and from others, and what that costs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.analysis.thresholds import DEFAULT_THRESHOLD
from gallery_db.atomic_files import atomic_path
from gallery_db.errors import GalleryError

if TYPE_CHECKING:
    from gallery_db.analysis.calibration import Calibration, Curve

__all__ = ["plot_calibrations"]

_SUFFIXES = (".png", ".svg", ".pdf")
_OWN, _OTHERS, _LIMIT = "#1b7837", "#b2182b", "#202124"
_MEAN, _SINGLE = "#2166ac", "#e08214"
_TICKS = (0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99)


def plot_calibrations(path: str | os.PathLike[str], calibrations: Sequence[Calibration]) -> Path:
    """Draw each class's distances beside its error trade-off, and write the picture.

    Args:
        path: Where to; .png, .svg or .pdf. Written beside and renamed.
        calibrations: At least one that has a curve.

    Returns:
        The path.

    Raises:
        GalleryError: The path's suffix is another, there is nothing to draw, or it cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() not in _SUFFIXES:
        raise GalleryError(
            f"Cannot write a plot to {target}: {target.suffix or 'no suffix'} is not known here.",
            hint=f"Use one of {', '.join(_SUFFIXES)}.",
        )
    drawn = [one for one in calibrations if one.single or one.mean]
    if not drawn:
        raise GalleryError("There is nothing to plot: too few people are in the gallery.", hint="Put more in.")
    # The object interface, which leaves the process's own figures and settings alone.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.0, 5.2 * len(drawn)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(drawn), 2, squeeze=False)
    for (left, right), one in zip(axes, drawn, strict=True):
        _distances(left, one)
        _trade_off(right, one)
    try:
        with atomic_path(target) as temporary:
            figure.savefig(temporary)
    except OSError as error:
        raise GalleryError(
            f"The plot {target} cannot be written: {error.strerror or error}.",
            hint="Check that its folder exists and can be written.",
        ) from error
    return target


def _distances(axes: Any, one: Calibration) -> None:
    curve = one.mean or one.single
    assert curve is not None
    top = float(max(curve.others.max(), curve.own.max(initial=0.0), DEFAULT_THRESHOLD)) * 1.05
    bins = np.linspace(0.0, top, 31)
    kind = f"means of up to {curve.looks} looks" if one.mean else "single looks"
    if len(curve.own):
        axes.hist(
            curve.own,
            bins,
            weights=curve.own_weights,
            color=_OWN,
            alpha=0.55,
            label="to their own identity, seen elsewhere",
        )
    axes.hist(
        curve.others,
        bins,
        weights=curve.others_weights,
        color=_OTHERS,
        alpha=0.5,
        label="to the nearest other identity",
    )
    if one.mean is not None and one.single is not None:
        for values, weights, colour in (
            (one.single.own, one.single.own_weights, _OWN),
            (one.single.others, one.single.others_weights, _OTHERS),
        ):
            if len(values):
                axes.hist(values, bins, weights=weights, color=colour, histtype="step", linewidth=1.2, linestyle=":")
        axes.plot([], [], color="#666666", linestyle=":", label="the same of single looks")
    if one.chosen is not None:
        at = one.chosen.threshold
        axes.axvspan(at.low, at.high, color=_LIMIT, alpha=0.1, linewidth=0)
        axes.axvline(
            at.estimate, color=_LIMIT, label=f"threshold {at.estimate:.3f} (95 %: {at.low:.3f} to {at.high:.3f})"
        )
    axes.axvline(DEFAULT_THRESHOLD, color="#888888", linestyle="--", linewidth=1, label=f"default {DEFAULT_THRESHOLD}")
    axes.set_xlim(0.0, top)
    axes.set_xlabel("cosine distance")
    axes.set_ylabel("share of probes")
    # A class is a user's word, and no formula.
    axes.set_title(f"{_plain(one.class_name)}: {one.entries} entries of {one.identities} identities, {kind}")
    axes.set_ylim(0.0, axes.get_ylim()[1] * 1.5)  # room for the legend
    axes.legend(fontsize=9, loc="upper left")


def _trade_off(axes: Any, one: Calibration) -> None:
    from scipy.stats import norm

    def spread(rates: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(norm.ppf(np.clip(rates, _TICKS[0], _TICKS[-1])), np.float64)

    known = False
    for curve, colour in ((one.single, _SINGLE), (one.mean, _MEAN)):
        if curve is None or not curve.known_probes:
            continue
        known = True
        label = "single looks" if curve.looks == 1 else f"means of up to {curve.looks} looks"
        if curve.equal_error is not None:
            label += f" (equal error {100 * curve.equal_error.estimate:.1f} %)"
        x, y, low, high = map(spread, (curve.fpir, curve.fnir, curve.fnir_low, curve.fnir_high))
        axes.plot(x, y, color=colour, label=label)
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        if curve is (one.mean or one.single):
            _mark(axes, one, curve, spread)
    ticks = spread(np.asarray(_TICKS))
    words = [f"{100 * tick:g} %" for tick in _TICKS]
    axes.set_xticks(ticks, words)
    axes.set_yticks(ticks, words)
    axes.set_xlim(ticks[0] - 0.1, ticks[-1] + 0.1)
    axes.set_ylim(ticks[0] - 0.1, ticks[-1] + 0.1)
    axes.grid(alpha=0.3)
    axes.set_xlabel("strangers who get a name (FPIR)")
    axes.set_ylabel("known people who do not get theirs (FNIR)")
    axes.set_title(f"Open set, a gallery of {one.identities}; known by another {_KINDS[one.apart]}")
    if known:
        axes.legend(fontsize=9, loc="upper right")
    else:
        axes.text(0.5, 0.5, "nobody has a second appearance", ha="center", transform=axes.transAxes)


_KINDS = {
    "camera": "camera",
    "source": "source or time",
    "file_order": "part of their images",
    "nothing": "appearance (there is none)",
}


def _mark(axes: Any, one: Calibration, curve: Curve, spread: Any) -> None:
    axes.axvline(
        float(spread(np.asarray(curve.smallest_far))), color="#888888", linestyle="--", linewidth=1,
        label=f"counted from {100 * curve.smallest_far:.2g} % up",
    )  # fmt: skip
    point = one.chosen
    if point is None or point.fnir is None:
        return
    x, y = float(spread(np.asarray(point.fpir.estimate))), float(spread(np.asarray(point.fnir.estimate)))
    ends = spread(np.asarray([point.fpir.low, point.fpir.high, point.fnir.low, point.fnir.high]))
    axes.errorbar(
        [x], [y],
        xerr=[[max(0.0, x - ends[0])], [max(0.0, ends[1] - x)]],
        yerr=[[max(0.0, y - ends[2])], [max(0.0, ends[3] - y)]],
        fmt="o", color=_LIMIT, capsize=3, linewidth=1,
        label=f"threshold {point.threshold.estimate:.3f}, {point.how} (95 %)",
    )  # fmt: skip


def _plain(text: str) -> str:
    return text.replace("$", r"\$")
