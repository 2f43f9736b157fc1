"""Plot calibrations: the distances of probes, and the detection error trade-off (DET) curves."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.atomic_files import atomic_path
from gallery_db.distribution import require_package
from gallery_db.errors import GalleryError
from gallery_db.store.thresholds import DEFAULT_THRESHOLD

if TYPE_CHECKING:
    from gallery_db.analysis.calibration_results import Calibration, Curve

__all__ = ["plot_calibrations"]

_SUFFIXES = (".png", ".svg", ".pdf")
_OWN_COLOUR, _OTHER_COLOUR, _THRESHOLD_COLOUR = "#1b7837", "#b2182b", "#202124"
_MEAN_COLOUR, _SINGLE_COLOUR = "#2166ac", "#e08214"
_RATE_TICKS = (0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99)
_SEPARATION_WORDS = {
    "camera": "across cameras",
    "source": "across visits",
    "file_order": "across parts of the files",
    "nothing": "nowhere",
}


def plot_calibrations(path: str | os.PathLike[str], calibrations: Sequence[Calibration]) -> Path:
    """Write a picture with each class's distances (left) and error trade-off (right).

    Args:
        path: The file to write: .png, .svg or .pdf. An existing file is replaced when the new one is complete.
        calibrations: At least one must have a curve.

    Returns:
        The path.

    Raises:
        GalleryError: The path has another suffix, there is nothing to draw, or the file cannot be written.
        MissingPackageError: Matplotlib is not installed.
    """
    target = Path(path)
    if target.suffix.lower() not in _SUFFIXES:
        raise GalleryError(
            f"Cannot write a plot to {target}: expected a name that ends in {', '.join(_SUFFIXES)}, found "
            f"{target.suffix or 'no suffix'}.",
            hint="Choose another name.",
        )
    drawn = [calibration for calibration in calibrations if calibration.single or calibration.mean]
    if not drawn:
        raise GalleryError(
            "There is nothing to plot: the gallery has too few identities.", hint="Add images of more people."
        )
    require_package("matplotlib", "plots", "A plot")
    # The object interface, which leaves the figures and settings of the process alone.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.0, 5.2 * len(drawn)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(drawn), 2, squeeze=False)
    for (left, right), calibration in zip(axes, drawn, strict=True):
        _draw_distances(left, calibration)
        _draw_trade_off(right, calibration)
    try:
        with atomic_path(target) as temporary:
            figure.savefig(temporary)
    except OSError as error:
        raise GalleryError(
            f"The plot {target} cannot be written: {error.strerror or error}.",
            hint="Check that its folder exists and can be written.",
        ) from error
    return target


def _draw_distances(axes: Any, calibration: Calibration) -> None:
    """Draw histograms of the distances to a probe's own identity and to the nearest other one."""
    curve = calibration.mean or calibration.single
    assert curve is not None
    largest = max(curve.other_distances.max(), curve.own_distances.max(initial=0.0), DEFAULT_THRESHOLD)
    top = float(largest) * 1.05
    bins = np.linspace(0.0, top, 31)
    for distances, weights, colour, alpha, label in (
        (curve.own_distances, curve.own_weights, _OWN_COLOUR, 0.55, "to the probe's own identity"),
        (curve.other_distances, curve.other_weights, _OTHER_COLOUR, 0.5, "to the nearest other identity"),
    ):
        if len(distances):
            axes.hist(distances, bins, weights=weights, color=colour, alpha=alpha, label=label)
    single = calibration.single
    if calibration.mean is not None and single is not None:
        outline: dict[str, Any] = {"histtype": "step", "linewidth": 1.2, "linestyle": ":"}
        for distances, weights, colour in (
            (single.own_distances, single.own_weights, _OWN_COLOUR),
            (single.other_distances, single.other_weights, _OTHER_COLOUR),
        ):
            if len(distances):
                axes.hist(distances, bins, weights=weights, color=colour, **outline)
        axes.plot([], [], color="#666666", linestyle=":", label="the same for single observations")
    if calibration.chosen is not None:
        at = calibration.chosen.threshold
        label = f"threshold {at.estimate:.3f} (95 % interval {at.low:.3f} to {at.high:.3f})"
        axes.axvspan(at.low, at.high, color=_THRESHOLD_COLOUR, alpha=0.1, linewidth=0)
        axes.axvline(at.estimate, color=_THRESHOLD_COLOUR, label=label)
    axes.axvline(
        DEFAULT_THRESHOLD, color="#888888", linestyle="--", linewidth=1, label=f"default threshold {DEFAULT_THRESHOLD}"
    )
    axes.set_xlim(0.0, top)
    axes.set_xlabel("cosine distance")
    axes.set_ylabel("share of probes")
    axes.set_title(
        f"{_escaped(calibration.class_name)}: {calibration.entries} entries of {calibration.identities} identities; "
        f"{_probe_words(curve)}",
        fontsize=11,
    )
    axes.set_ylim(0.0, axes.get_ylim()[1] * 1.5)  # room for the legend
    axes.legend(fontsize=9, loc="upper left")


def _draw_trade_off(axes: Any, calibration: Calibration) -> None:
    """Draw the miss rate over the false accept rate, both on the scale of a normal distribution."""
    from scipy.stats import norm

    def scaled(rates: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(norm.ppf(np.clip(rates, _RATE_TICKS[0], _RATE_TICKS[-1])), np.float64)

    has_curve = False
    for curve, colour in ((calibration.single, _SINGLE_COLOUR), (calibration.mean, _MEAN_COLOUR)):
        if curve is None or not curve.known_probes:
            continue
        has_curve = True
        label = _probe_words(curve)
        if curve.equal_error is not None:
            label += f" (equal error rate {100 * curve.equal_error.estimate:.1f} %)"
        x, y, low, high = map(scaled, (curve.fpir, curve.fnir, curve.fnir_low, curve.fnir_high))
        axes.plot(x, y, color=colour, label=label)
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        if curve is (calibration.mean or calibration.single):
            _mark_threshold(axes, calibration, curve, scaled)
    ticks = scaled(np.asarray(_RATE_TICKS))
    tick_words = [f"{100 * tick:g} %" for tick in _RATE_TICKS]
    axes.set_xticks(ticks, tick_words)
    axes.set_yticks(ticks, tick_words)
    axes.set_xlim(ticks[0] - 0.1, ticks[-1] + 0.1)
    axes.set_ylim(ticks[0] - 0.1, ticks[-1] + 0.1)
    axes.grid(alpha=0.3)
    axes.set_xlabel("false accept rate (FPIR): strangers who get a name")
    axes.set_ylabel("miss rate (FNIR): known people who do not get theirs")
    axes.set_title(
        f"Error rates (open set, {calibration.identities} identities); misses measured "
        f"{_SEPARATION_WORDS[calibration.separation]}",
        fontsize=11,
    )
    if has_curve:
        axes.legend(fontsize=9, loc="upper right")
    else:
        axes.text(
            0.5,
            0.5,
            "the miss rate is unknown: no person was seen a second time",
            ha="center",
            transform=axes.transAxes,
        )


def _mark_threshold(
    axes: Any,
    calibration: Calibration,
    curve: Curve,
    scaled: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> None:
    """Mark the smallest false accept rate that is counted, and the chosen threshold with its intervals."""
    axes.axvline(
        float(scaled(np.asarray(curve.smallest_far))), color="#888888", linestyle="--", linewidth=1,
        label=f"counted above {100 * curve.smallest_far:.2g} %, fitted below",
    )  # fmt: skip
    point = calibration.chosen
    if point is None or point.fnir is None:
        return
    x, y = float(scaled(np.asarray(point.fpir.estimate))), float(scaled(np.asarray(point.fnir.estimate)))
    ends = scaled(np.asarray([point.fpir.low, point.fpir.high, point.fnir.low, point.fnir.high]))
    axes.errorbar(
        [x], [y],
        xerr=[[max(0.0, x - ends[0])], [max(0.0, ends[1] - x)]],
        yerr=[[max(0.0, y - ends[2])], [max(0.0, ends[3] - y)]],
        fmt="o", color=_THRESHOLD_COLOUR, capsize=3, linewidth=1,
        label=f"threshold {point.threshold.estimate:.3f}, {point.how} (95 % intervals)",
    )  # fmt: skip


def _probe_words(curve: Curve) -> str:
    return "single observations" if curve.probe_size == 1 else f"means of up to {curve.probe_size} observations"


def _escaped(text: str) -> str:
    """Return text in which matplotlib sees no formula; a class may have any name."""
    return text.replace("$", r"\$")
