"""Error rates of one kind of probe at any threshold, with bootstrap intervals.

The rates are those of ISO/IEC 19795-1 for identification in an open set: the false accept rate is the false positive
identification rate (FPIR), the miss rate is the false negative identification rate (FNIR).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gallery_db.analysis.calibration_results import Curve, Method, OperatingPoint, Rate
from gallery_db.analysis.calibration_statistics import (
    SMALLEST_DISTANCE,
    DistanceModel,
    crossing,
    interval_percentiles,
)

__all__ = ["MIN_IDENTITIES", "MIN_PROBES", "Trials"]

MIN_IDENTITIES = 5
"""Identities that a calibration needs at least."""
MIN_PROBES = 10
"""Probes that a calibration needs at least."""

_MIN_FALSE_ACCEPTS = 2  # that must be expected for a rate to be counted: a single one may be a wrong label
_FIT_REACH = 4  # a fit is used for rates down to 1 / (this * identities)
_CURVE_POINTS = 400
_BOOTSTRAP_ROUNDS = 1000


class Trials:
    """The probes of one kind, each compared with its own identity and with all others.

    Each identity is once a stranger: its probes are compared with the gallery without it. A false accept is a probe
    whose nearest other identity is within the threshold. A miss is a known probe that is not within the threshold of
    its own identity, or nearer to another one. All identities weigh the same.

    Identities that are each other's nearest share one small distance, so they form a cluster, which the bootstrap draws
    as one. P is the number of probes, J the number of identities that they show, C the number of clusters, B the number
    of bootstrap samples, T the number of thresholds.

    Attributes:
        probe_size: Largest number of observations in a probe.
        other_distances: (P,) distance of each probe to the nearest other identity.
        is_known: (P,) whether the probe has a distance to its own identity.
        is_sufficient: Whether there are enough probes and identities for a calibration.
        can_be_fitted: Whether there are enough clusters for thresholds.
        smallest_counted: The smallest false accept rate that can be counted.
        smallest_fitted: The smallest false accept rate that can be fitted.
    """

    def __init__(
        self,
        probe_size: int,
        identities: int,
        other_distances: NDArray[np.float64],
        own_distances: NDArray[np.float64],
        identity_of: NDArray[np.intp],
        nearest: NDArray[np.intp],
        compared: float | None = None,
    ) -> None:
        """Prepare the rates.

        Args:
            probe_size: Largest number of observations in a probe.
            identities: Number of identities in the gallery.
            other_distances: (P,) distance of each probe to the nearest other identity.
            own_distances: (P,) distance of each probe to its own identity; NaN where there is nothing to compare with.
            identity_of: (P,) number of each probe's identity.
            nearest: (P,) number of the nearest other identity.
            compared: Number of identities that each probe was compared with; by default all but its own.
        """
        self._compared = identities - 1 if compared is None else compared
        self.probe_size = probe_size
        self._identities = identities
        self.other_distances = np.maximum(other_distances, SMALLEST_DISTANCE)
        self._own_distances = own_distances
        self.is_known = ~np.isnan(own_distances)
        # (J,) numbers of the identities, (P,) position of each probe's identity among them, (J,) probes of each.
        self._numbers, self._index, self._sizes = np.unique(identity_of, return_inverse=True, return_counts=True)
        self.is_sufficient = len(other_distances) >= MIN_PROBES and len(self._numbers) >= MIN_IDENTITIES
        self._clusters = self._cluster_mutual_nearest(identity_of, nearest)  # (J,)
        self._cluster_count = int(self._clusters.max()) + 1
        self._model = DistanceModel(self.other_distances, self._clusters[self._index])
        self.can_be_fitted = self._cluster_count > 1
        self._effective_count = min(self._model.effective_count, self._cluster_count)
        self.smallest_counted = _MIN_FALSE_ACCEPTS / (self._effective_count + 1)
        self.smallest_fitted = 1.0 / (_FIT_REACH * identities)
        generator = np.random.default_rng(0)  # the same gallery gives the same result
        # Draw half as many clusters as there are: a distance belongs to the two identities that it is between, so n
        # identities make about n / 2 independent observations. (When n were drawn, upper ends held for 7 in 10
        # simulated galleries of 8 to 40 identities.)
        sample = max(2, round(self._cluster_count / 2))
        draws = generator.multinomial(sample, np.full(self._cluster_count, 1 / self._cluster_count), _BOOTSTRAP_ROUNDS)
        self._draws: NDArray[np.float64] = draws.astype(np.float64)  # (B, C)
        self._percentiles = interval_percentiles(sample)

    def false_accept_rate(self, threshold: float) -> float:
        """Return the counted share of strangers' probes that get a name."""
        return float(self._false_accept_rates(np.asarray([threshold]))[0][0])

    def miss_rate(self, threshold: float) -> float | None:
        """Return the share of known probes that do not get their name; None without known probes."""
        return float(self._miss_rates(np.asarray([threshold]))[0][0]) if self.is_known.any() else None

    def curve(self) -> Curve:
        """Return the rates over all thresholds."""
        distances = np.concatenate([self.other_distances, self._own_distances[self.is_known]])
        steps = np.quantile(distances, np.linspace(0, 1, _CURVE_POINTS))
        thresholds = np.unique(np.concatenate([[0.0], steps]))
        fpir, fpir_drawn = self._false_accept_rates(thresholds)
        fpir_low, fpir_high = np.quantile(fpir_drawn, self._percentiles, axis=0)
        fnir = fnir_low = fnir_high = wrong = np.full(len(thresholds), np.nan)
        equal_error, equal_error_threshold = None, None
        if self.is_known.any():
            fnir, fnir_drawn = self._miss_rates(thresholds)
            fnir_low, fnir_high = np.nanquantile(fnir_drawn, self._percentiles, axis=0)
            wrong = self._misidentification_rates(thresholds)
            _, drawn = crossing(thresholds, fpir_drawn, fnir_drawn)
            at, rate = crossing(thresholds, fpir[None], fnir[None])
            low, high = np.nanquantile(drawn, self._percentiles)
            equal_error, equal_error_threshold = Rate(float(rate[0]), float(low), float(high)), float(at[0])
        known = self._index[self.is_known]
        known_sizes = np.bincount(known, minlength=len(self._numbers))
        return Curve(
            probe_size=self.probe_size,
            probes=len(self.other_distances),
            identities=len(self._numbers),
            known_probes=int(self.is_known.sum()),
            known_identities=int((known_sizes > 0).sum()),
            thresholds=thresholds,
            fpir=fpir,
            fpir_low=fpir_low,
            fpir_high=fpir_high,
            fnir=fnir,
            fnir_low=fnir_low,
            fnir_high=fnir_high,
            wrong=wrong,
            equal_error=equal_error,
            equal_error_threshold=equal_error_threshold,
            smallest_far=self.smallest_counted,
            other_distances=self.other_distances,
            own_distances=self._own_distances[self.is_known],
            other_weights=1.0 / (self._sizes[self._index] * len(self._numbers)),
            own_weights=1.0 / (known_sizes[known] * max(1, (known_sizes > 0).sum())),
        )

    def operating_point(self, far: float, single: Trials | None) -> OperatingPoint:
        """Return the threshold for a false accept rate, and the error rates at it.

        Args:
            far: The requested rate.
            single: Trials of single observations, whose rates at the same threshold are reported too.
        """
        rate = self._to_trial_gallery(far)
        how: Method = "counted" if rate >= self.smallest_counted else "fitted"
        quantile = self._counted_quantile if how == "counted" else self._model.quantile
        threshold = float(quantile(rate, np.ones((1, self._cluster_count)))[0])
        low, high = np.quantile(quantile(rate, self._draws), self._percentiles)
        thresholds = np.asarray([threshold])
        fpir = self._false_accepts_at(threshold)
        fnir, wrong = None, None
        if self.is_known.any():
            missed, missed_drawn = self._miss_rates(thresholds)
            fnir = Rate(float(missed[0]), *map(float, np.nanquantile(missed_drawn[:, 0], self._percentiles)))
            wrong = float(self._misidentification_rates(thresholds)[0])
        return OperatingPoint(
            far=far,
            how=how,
            threshold=Rate(threshold, float(low), float(high)),
            fpir=fpir if how == "counted" else replace(fpir, estimate=far),
            cautious_fpir=self._false_accepts_at(float(low)),
            fnir=fnir,
            wrong=wrong,
            single_fpir=None if single is None else single.false_accept_rate(threshold),
            single_fnir=None if single is None else single.miss_rate(threshold),
        )

    def _false_accepts_at(self, threshold: float) -> Rate:
        """Return the false accept rate at a threshold, with its interval."""
        counted, counted_drawn = self._false_accept_rates(np.asarray([threshold]))
        # The wider of two intervals: counting ignores what was not seen, the fit trusts in its distribution.
        fitted_drawn = self._to_whole_gallery(self._model.share_below(threshold, self._draws))
        low, high = np.quantile(np.stack([counted_drawn[:, 0], fitted_drawn]), self._percentiles, axis=1)
        return Rate(float(counted[0]), float(low.min()), float(high.max()))

    # -- rates at thresholds -------------------------------------------------------------------------------------

    def _false_accept_rates(self, thresholds: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (T,) false accept rates, and (B, T) those of the bootstrap samples."""
        rates, drawn = self._rates(self.other_distances[:, None] <= thresholds)
        return self._to_whole_gallery(rates), self._to_whole_gallery(drawn)

    def _miss_rates(self, thresholds: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (T,) miss rates, and (B, T) those of the bootstrap samples."""
        own, other = self._known_distances()
        return self._rates((own > thresholds) | (other < own), self.is_known)

    def _misidentification_rates(self, thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (T,) shares of known probes that get another identity's name."""
        own, other = self._known_distances()
        return self._rates((other < own) & (other <= thresholds), self.is_known)[0]

    def _known_distances(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (K, 1) distances of the known probes to their own identity, and to the nearest other one."""
        return self._own_distances[self.is_known][:, None], self.other_distances[self.is_known][:, None]

    def _rates(
        self, hits: NDArray[np.bool_], probes: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (T,) mean shares of hits over the identities, and (B, T) those of the bootstrap samples.

        Args:
            hits: (P, T), or (K, T) with `probes`.
            probes: (P,) which K probes the hits are of; all by default.
        """
        shares, members = self._cluster_shares(hits, probes)
        total = self._draws @ members
        with np.errstate(invalid="ignore"):
            drawn = (self._draws @ shares) / np.where(total > 0, total, np.nan)[:, None]  # NaN: no identity was drawn
        return shares.sum(axis=0) / members.sum(), drawn

    def _cluster_shares(
        self, hits: NDArray[np.bool_], probes: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (C, T) sums of the shares of hits of each cluster's identities, and (C,) numbers of identities."""
        index = self._index if probes is None else self._index[probes]
        sizes = np.bincount(index, minlength=len(self._numbers))
        sums = np.zeros((len(self._numbers), hits.shape[1]))
        order = np.argsort(index, kind="stable")
        present = np.flatnonzero(sizes)
        starts = np.searchsorted(index[order], present)
        sums[present] = np.add.reduceat(hits[order], starts, axis=0, dtype=np.float64) / sizes[present, None]
        shares = np.zeros((self._cluster_count, hits.shape[1]))
        np.add.at(shares, self._clusters, sums)
        members = np.zeros(self._cluster_count)
        np.add.at(members, self._clusters, (sizes > 0).astype(np.float64))
        return shares, members

    # -- thresholds for rates ------------------------------------------------------------------------------------

    def _counted_quantile(self, rate: float, draws: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (B,) the distance below which a share `rate` of strangers' probes lies, for (B, C) draws."""
        order = np.argsort(self.other_distances, kind="stable")
        weights = (1.0 / self._sizes[self._index])[order]
        clusters = self._clusters[self._index][order]
        ascending = self.other_distances[order]
        # Of n measured values r are not above the r-th smallest; of new values, r in n + 1 are expected not to be.
        shrink = self._effective_count / (self._effective_count + 1)
        found = np.empty(len(draws))
        for row, draw in enumerate(draws):
            share = np.cumsum(weights * draw[clusters])
            found[row] = np.interp(rate, share / share[-1] * shrink, ascending)
        return found

    def _to_whole_gallery(self, rate: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert false accept rates of the gallery that the trials compared with to the whole gallery."""
        whole: NDArray[np.float64] = 1.0 - (1.0 - rate) ** (self._identities / self._compared)
        return whole

    def _to_trial_gallery(self, rate: float) -> float:
        """Convert a false accept rate of the whole gallery to that of the trials."""
        return float(1.0 - (1.0 - rate) ** (self._compared / self._identities))

    def _cluster_mutual_nearest(self, identity_of: NDArray[np.intp], nearest: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return (J,) cluster numbers from 0; two identities that are each other's nearest are in the same one."""
        nearest_identity: dict[int, int] = {}
        for row in np.argsort(self.other_distances, kind="stable").tolist():
            nearest_identity.setdefault(int(identity_of[row]), int(nearest[row]))
        label = {
            number: min(number, other) if nearest_identity.get(other) == number else number
            for number, other in nearest_identity.items()
        }
        return np.unique([label[int(number)] for number in self._numbers], return_inverse=True)[1].astype(np.intp)
