"""Results of a calibration: rates with intervals, error curves, operating points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gallery_db.analysis.anomalies import Anomalies

__all__ = ["Calibration", "Curve", "Method", "OperatingPoint", "Rate"]

Method = Literal["counted", "fitted"]
"""Where a rate comes from: false accepts that were counted, or a distribution fitted to the distances."""


@dataclass(frozen=True, slots=True)
class Rate:
    """An estimate with its 95 % interval, from a bootstrap over identities.

    Attributes:
        estimate: The estimate.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """The detection error trade-off (DET) for one kind of probe.

    A *known* probe is one whose identity has further entries, seen at another time or place, to be identified by.

    Attributes:
        probe_size: Largest number of observations in a probe; 1 for single observations.
        probes: Number of probes, P.
        identities: Number of identities that the probes show.
        known_probes: Number of known probes, K.
        known_identities: Number of identities that the known probes show.
        thresholds: (T,) ascending cosine distances.
        fpir: (T,) false accept rate: the share of strangers' probes that get a name.
        fpir_low, fpir_high: (T,) its 95 % interval.
        fnir: (T,) miss rate: the share of known probes that do not get their name; NaN without known probes.
        fnir_low, fnir_high: (T,) its 95 % interval.
        wrong: (T,) misidentification rate: the share of known probes that get another identity's name.
        equal_error: The rate at which both error rates are equal; None without known probes.
        equal_error_threshold: The distance of that rate; None without known probes.
        smallest_far: The smallest false accept rate that can be counted rather than fitted.
        other_distances: (P,) distance of each probe to the nearest other identity.
        own_distances: (K,) distance of each known probe to its own identity.
        other_weights: (P,) weight of each probe; all identities weigh the same, and the sum is 1.
        own_weights: (K,) weight of each known probe, likewise.
    """

    probe_size: int
    probes: int
    identities: int
    known_probes: int
    known_identities: int
    thresholds: NDArray[np.float64]
    fpir: NDArray[np.float64]
    fpir_low: NDArray[np.float64]
    fpir_high: NDArray[np.float64]
    fnir: NDArray[np.float64]
    fnir_low: NDArray[np.float64]
    fnir_high: NDArray[np.float64]
    wrong: NDArray[np.float64]
    equal_error: Rate | None
    equal_error_threshold: float | None
    smallest_far: float
    other_distances: NDArray[np.float64]
    own_distances: NDArray[np.float64]
    other_weights: NDArray[np.float64]
    own_weights: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold for a requested false accept rate, and the error rates at it.

    Attributes:
        far: The requested false accept rate.
        how: Whether the threshold was counted or fitted.
        threshold: Cosine distance, with its interval.
        fpir: False accept rate at the threshold, for the kind of probe that the threshold is for.
        cautious_fpir: False accept rate at the low end of the threshold's interval.
        fnir: Miss rate at the threshold; None without known probes.
        wrong: Misidentification rate at the threshold; None without known probes.
        single_fpir: False accept rate of single observations at the same threshold; None without such probes.
        single_fnir: Miss rate of single observations at the same threshold; None without known ones.
    """

    far: float
    how: Method
    threshold: Rate
    fpir: Rate
    cautious_fpir: Rate
    fnir: Rate | None
    wrong: float | None
    single_fpir: float | None
    single_fnir: float | None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Calibration:
    """The calibration of one class of a gallery.

    Attributes:
        class_name: The class.
        entries: Number of its entries.
        identities: Number of its identities.
        separation: What distinguishes the groups of entries that were seen together, for the miss rate: ``"camera"``,
            ``"source"``, ``"file_order"`` or ``"nothing"``.
        probe_size: Number of observations in the mean that stands for a track's evidence.
        single: Error rates of single observations; None if there are too few images.
        mean: Error rates of means of observations; None if there are too few.
        chosen: The threshold for the requested rate, for means if there are any; None if it cannot be estimated.
        points: Thresholds for usual rates, as far as the gallery supports them.
        problems: Why the threshold should not be relied on; empty if it may.
        keep_default: Whether runs should keep `DEFAULT_THRESHOLD`: no rate was requested, there are fewer than
            `FEW_IDENTITIES` identities, the default lies in the interval of the threshold, and at the default at
            least half of the strangers get no name.
        notes: Further facts that a user should know.
        anomalies: Probable labelling mistakes among the entries.
    """

    class_name: str
    entries: int
    identities: int
    separation: str
    probe_size: int
    single: Curve | None
    mean: Curve | None
    chosen: OperatingPoint | None
    points: tuple[OperatingPoint, ...]
    problems: tuple[str, ...]
    keep_default: bool
    notes: tuple[str, ...]
    anomalies: Anomalies

    def __repr__(self) -> str:
        threshold = "no threshold"
        if self.chosen is not None:
            threshold = f"threshold {self.chosen.threshold.estimate:.4g} for a false accept rate of {self.chosen.far:g}"
        problems = f", {len(self.problems)} problems" if self.problems else ""
        return (
            f"Calibration({self.class_name!r}: {self.entries} entries of {self.identities} identities, "
            f"{threshold}{problems})"
        )
