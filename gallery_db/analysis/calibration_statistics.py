"""The statistics of a calibration: a fitted distribution of distances, and the ends of bootstrap intervals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["SMALLEST_DISTANCE", "DistanceModel", "crossing", "interval_percentiles"]

SMALLEST_DISTANCE = 1e-3
"""Distances below are rounding errors, and count as this."""

_CONFIDENCE = 0.95
_EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the Box-Cox transform


class DistanceModel:
    """A normal distribution of Box-Cox transformed distances, with a random effect of each cluster.

    The transform (Box and Cox, 1964) is the one of greatest likelihood among a few exponents. The variance is divided
    into one between clusters and one within them, as in a one-way analysis of variance with unequal group sizes. The
    quantiles are prediction limits with Student's t distribution and the degrees of freedom of Satterthwaite (1946):
    they hold for people who were not measured, and become stricter the fewer clusters there are.

    Methods take `draws`, a (B, C) array: how many times each of C clusters was drawn in each of B bootstrap samples.

    Attributes:
        effective_count: Number of independent distances that carry as much information as all of them, from their
            correlation within a cluster.
    """

    def __init__(self, distances: NDArray[np.float64], clusters: NDArray[np.intp]) -> None:
        """Prepare the moments of each cluster.

        Args:
            distances: (P,) cosine distances above 0.
            clusters: (P,) number of each distance's cluster, from 0 to C - 1.
        """
        logs = np.log(distances)
        self._sizes = np.bincount(clusters).astype(np.float64)
        self._log_means = np.bincount(clusters, logs) / self._sizes
        self._means: list[NDArray[np.float64]] = []  # for each exponent, of each cluster
        self._squares: list[NDArray[np.float64]] = []  # likewise, sums of squared deviations from these means
        for exponent in _EXPONENTS:
            values = _box_cox(distances, exponent)
            means = np.bincount(clusters, values) / self._sizes
            self._means.append(means)
            squares = np.zeros(len(self._sizes))
            np.add.at(squares, clusters, (values - means[clusters]) ** 2)
            self._squares.append(squares)
        if len(self._sizes) > 1:
            count = len(distances)
            _, between, within, *_ = self._moments(np.ones((1, len(self._sizes))))
            correlation = float(between[0] / max(between[0] + within[0], 1e-12))  # of two distances of one cluster
            self.effective_count = count / (1.0 + (count / len(self._sizes) - 1.0) * correlation)
        else:
            self.effective_count = 1.0

    def quantile(self, rate: float, draws: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (B,) the distance below which a share `rate` of strangers' probes lies."""
        from scipy.stats import t

        mean, scale, freedom, exponent = self._prediction(draws)
        limit = mean + np.asarray(t.ppf(rate, freedom)) * scale
        with np.errstate(divide="ignore"):
            power = np.maximum(exponent * limit + 1.0, 0.0) ** (1.0 / np.maximum(exponent, 1e-9))
        return np.clip(np.where(exponent > 0, power, np.exp(np.minimum(limit, 1.0))), 0.0, 2.0)

    def share_below(self, distance: float, draws: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (B,) the share of strangers' probes below a distance."""
        from scipy.stats import t

        mean, scale, freedom, exponent = self._prediction(draws)
        near = max(distance, SMALLEST_DISTANCE)
        value = np.where(exponent > 0, (near**exponent - 1) / np.maximum(exponent, 1e-9), np.log(near))
        share: NDArray[np.float64] = np.asarray(t.cdf((value - mean) / np.maximum(scale, 1e-9), freedom), np.float64)
        return share

    def _prediction(self, draws: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Return (B,) each: mean and standard deviation of a new value, degrees of freedom, exponent."""
        mean, between, within, per_cluster, freedom, exponent = self._moments(draws)
        variance_of_mean = (between + within / per_cluster) / draws.sum(axis=1)
        return mean, np.sqrt(between + within + variance_of_mean), freedom, exponent

    def _moments(self, draws: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Fit each bootstrap sample with the exponent of greatest likelihood.

        Returns:
            (B,) each: mean, variance between clusters, variance within them, distances per cluster, degrees of
            freedom, exponent.
        """
        best: tuple[NDArray[np.float64], ...] | None = None
        best_likelihood = np.full(len(draws), -np.inf)
        clusters = draws.sum(axis=1)
        total = draws @ self._sizes
        typical_size = (total - draws @ self._sizes**2 / total) / np.maximum(clusters - 1, 1)
        freedom_within = np.maximum(total - clusters, 1)
        for exponent, means, squares in zip(_EXPONENTS, self._means, self._squares, strict=True):
            mean = draws @ means / clusters
            within = draws @ squares / freedom_within
            pooled = draws @ (means * self._sizes) / total
            spread = draws @ (self._sizes * means**2) - total * pooled**2
            mean_square = np.maximum(spread, 0.0) / np.maximum(clusters - 1, 1)
            between = np.maximum((mean_square - within) / typical_size, 0.0)
            variance = np.maximum(between + within, 1e-12)
            # Satterthwaite's degrees of freedom for a sum of two mean squares.
            parts = (mean_square / typical_size) ** 2 / np.maximum(clusters - 1, 1)
            parts += ((1 - 1 / typical_size) * within) ** 2 / freedom_within
            freedom = np.where(between > 0, variance**2 / np.maximum(parts, 1e-18), total - 1)
            likelihood = -0.5 * np.log(variance) + (exponent - 1.0) * (draws @ self._log_means / clusters)
            found = (mean, between, within, total / clusters, np.maximum(freedom, 1.0), np.full(len(draws), exponent))
            better = likelihood > best_likelihood
            best = found if best is None else tuple(np.where(better, f, b) for f, b in zip(found, best, strict=True))
            best_likelihood = np.maximum(likelihood, best_likelihood)
        assert best is not None
        return best


def interval_percentiles(count: int) -> tuple[float, float]:
    """Return the two percentiles of a bootstrap over `count` items that are the ends of a 95 % interval.

    A percentile interval of few items is too narrow; these percentiles are expanded after Hesterberg (2015), "What
    Teachers Should Know About the Bootstrap", section 4.1.
    """
    from scipy.stats import norm, t

    freedom = max(count - 1, 1)
    low = float(norm.cdf(np.sqrt(count / freedom) * t.ppf((1.0 - _CONFIDENCE) / 2, freedom)))
    return low, 1.0 - low


def crossing(
    thresholds: NDArray[np.float64], rising: NDArray[np.float64], falling: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (B,) the thresholds at which two curves (B, T) are nearest to each other, and (B,) their mean there."""
    position = np.argmin(np.abs(np.nan_to_num(rising - falling, nan=2.0)), axis=1)
    rows = np.arange(len(rising))
    return thresholds[position], (rising[rows, position] + falling[rows, position]) / 2


def _box_cox(values: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    transformed: NDArray[np.float64] = np.log(values) if exponent == 0 else (values**exponent - 1.0) / exponent
    return transformed
