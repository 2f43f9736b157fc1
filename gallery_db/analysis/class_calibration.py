"""The calibration of one class: probes from its entries, their error rates, and what limits their use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gallery_db.analysis.anomalies import Anomalies
from gallery_db.analysis.calibration_results import Calibration, OperatingPoint
from gallery_db.analysis.calibration_trials import MIN_IDENTITIES, MIN_PROBES, Trials
from gallery_db.analysis.class_comparison import block_rows
from gallery_db.analysis.entry_groups import Separation, group_entries
from gallery_db.analysis.unseen_people import UnseenPeople
from gallery_db.embeddings import unit_mean
from gallery_db.entry import Entry
from gallery_db.search.table import TRACK_PENALTY
from gallery_db.search.view import GalleryView
from gallery_db.store.thresholds import DEFAULT_THRESHOLD

__all__ = ["DEFAULT_FAR", "FEW_IDENTITIES", "ClassCalibration"]

DEFAULT_FAR = 0.05
"""The false accept rate if none is requested: one in twenty probes of strangers gets a name."""
FEW_IDENTITIES = 20
"""With fewer identities, thresholds come with a warning, and the default threshold may be kept."""

_USUAL_RATES = (0.1, 0.05, 0.01, 0.001)  # false accept rates of the table of thresholds
_MAX_MEANS = 4  # probes that are means of images, of one group of entries
_MAX_PROBES = 20_000


@dataclass(frozen=True, slots=True)
class _Probe:
    """Entries of an identity whose mean is a probe.

    Attributes:
        members: Positions of these entries among the identity's.
        group: Positions of all entries that were seen together with them; the probe is not compared with these.
    """

    members: tuple[int, ...]
    group: tuple[int, ...]


class ClassCalibration:
    """Calibrates the match threshold of one class of a gallery."""

    def __init__(
        self,
        view: GalleryView,
        entries: Sequence[Entry],
        columns: NDArray[np.intp],
        far: float | None,
        probe_size: int,
        anomalies: Anomalies,
        unseen: UnseenPeople | None = None,
        max_probes: int | None = None,
    ) -> None:
        """Group the entries of each identity by when and where they were seen.

        Args:
            view: The gallery's embeddings.
            entries: Its entries, in the order of the view's rows.
            columns: (I,) ascending columns of the class's identities in the view.
            far: The requested false accept rate; None for `DEFAULT_FAR`.
            probe_size: Number of observations in a mean.
            anomalies: Those of the class.
            unseen: Compares people who had no part in the view's space; None for a view without a space.
            max_probes: Most probes of one kind; None for 20,000.
        """
        self._unseen = unseen
        self._max_probes = max_probes or _MAX_PROBES
        self._view = view
        self._columns = columns
        self._class_name = view.identity_classes[columns[0]]
        self._far = DEFAULT_FAR if far is None else far
        self._is_far_requested = far is not None
        self._probe_size = probe_size
        self._anomalies = anomalies
        order = np.argsort(view.row_columns, kind="stable")
        starts = np.searchsorted(view.row_columns[order], columns)
        stops = np.searchsorted(view.row_columns[order], columns, side="right")
        self._rows = [order[start:stop] for start, stop in zip(starts, stops, strict=True)]
        self._entries = [[entries[row] for row in rows] for rows in self._rows]
        self._groups = [group_entries(some, probe_size) for some in self._entries]
        self._separation = self._common_separation()

    def _common_separation(self) -> Separation:
        """Return the best separation that enough identities have, to measure misses with."""
        for level in (Separation.CAMERA, Separation.SOURCE, Separation.FILE_ORDER):
            if sum(groups.separation >= level for groups in self._groups) >= MIN_IDENTITIES:
                return level
        return max((groups.separation for groups in self._groups), default=Separation.NOTHING)

    def calibrate(self) -> Calibration:
        """Measure the error rates, and choose the threshold for the requested rate."""
        single = mean = None
        if len(self._columns) > 1:
            single, mean = self._trials(1), self._trials(self._probe_size)
        if mean is not None and not mean.is_sufficient and (single is None or single.is_sufficient):
            mean = None
        basis = mean or single
        problems = self._problems(basis)
        points: list[OperatingPoint] = []
        chosen = None
        if basis is not None and basis.can_be_fitted:
            for rate in sorted({*_USUAL_RATES, self._far}, reverse=True):
                if rate == self._far or rate >= basis.smallest_fitted:
                    points.append(basis.operating_point(rate, single))
            chosen = next(point for point in points if point.far == self._far)
            if self._far < min(basis.smallest_fitted, basis.smallest_counted):
                problems.append(
                    f"{len(self._columns)} identities support false accept rates down to "
                    f"{basis.smallest_fitted:.2g}, and {self._far:g} was requested"
                )
        return Calibration(
            class_name=self._class_name,
            entries=sum(map(len, self._rows)),
            identities=len(self._columns),
            separation=self._separation.name.lower(),
            probe_size=self._probe_size,
            single=None if single is None else single.curve(),
            mean=None if mean is None else mean.curve(),
            chosen=chosen,
            points=tuple(points),
            problems=tuple(problems),
            keep_default=not self._is_far_requested and self._is_default_plausible(basis, chosen),
            notes=tuple(self._notes(basis, mean, chosen)),
            anomalies=self._anomalies,
        )

    # -- how far to trust the result -----------------------------------------------------------------------------

    def _is_default_plausible(self, basis: Trials | None, chosen: OperatingPoint | None) -> bool:
        """Return whether few identities leave it open that the default is the right threshold."""
        if basis is None or chosen is None or len(self._columns) >= FEW_IDENTITIES:
            return False
        threshold = chosen.threshold
        return threshold.low <= DEFAULT_THRESHOLD <= threshold.high and (
            basis.false_accept_rate(DEFAULT_THRESHOLD) <= 0.5
        )

    def _problems(self, basis: Trials | None) -> list[str]:
        """Return why there is too little data for a threshold."""
        if len(self._columns) < MIN_IDENTITIES:
            return [f"expected at least {MIN_IDENTITIES} identities, found {len(self._columns)}"]
        if basis is None or not basis.is_sufficient:
            found = 0 if basis is None else len(basis.other_distances)
            return [f"expected at least {MIN_PROBES} probes of {MIN_IDENTITIES} identities, found {found}"]
        return []

    def _notes(self, basis: Trials | None, mean: Trials | None, chosen: OperatingPoint | None) -> list[str]:
        """Return what a user should know of the result."""
        notes: list[str] = []
        if basis is None:
            return notes
        if mean is None:
            notes.append(
                "too few identities have several images of one camera, visit or burst: the threshold is for single "
                "observations"
            )
        if chosen is not None and chosen.how == "fitted":
            notes.append(
                f"with {len(self._columns)} identities, false accept rates down to {basis.smallest_counted:.2g} can be "
                "counted; for smaller rates, a distribution is fitted to the distances"
            )
            if len(self._columns) < FEW_IDENTITIES:
                notes.append(
                    f"with {len(self._columns)} identities the fitted threshold is cautious: the right one may be "
                    "anywhere in its interval; more identities in the gallery make the interval narrower"
                )
        if self._separation is Separation.FILE_ORDER:
            notes.append(
                "no camera, source or time separates the entries of one person, so that known people are compared with "
                "images that may be of the same burst: expect more misses than shown here (the threshold does not "
                "depend on them)"
            )
        if self._separation is Separation.CAMERA:
            notes.append("known people missed: people who come to another camera than those of their entries")
        elif basis.is_known.any():
            notes.append(
                "known people missed: people who come back to the same camera; how many are missed on another "
                "camera is unknown, as too few identities have entries of two cameras, and it can be many more"
            )
        if self._separation is Separation.NOTHING or not basis.is_known.any():
            notes.append("no identity has images of a second camera, visit or burst: the miss rate is unknown")
        if self._anomalies.similar or self._anomalies.mislabelled or self._anomalies.duplicates:
            notes.append(
                "some entries look wrong; if they are, the threshold is too strict: correct them, and calibrate again"
            )
        return notes

    # -- probes --------------------------------------------------------------------------------------------------

    def _trials(self, probe_size: int) -> Trials | None:
        """Make the probes of one kind, and compare each with its own identity and with the others."""
        step = -(-len(self._columns) // self._max_probes)
        probes: list[NDArray[np.float32]] = []
        identity_of: list[int] = []
        own_distances: list[float] = []
        members: list[NDArray[np.intp]] = []
        for number in range(0, len(self._columns), step):
            chosen = self._probes_of(number, probe_size)
            if not chosen:
                continue
            embeddings = self._view.embeddings[self._rows[number]]
            sums = [embeddings[list(probe.members)].sum(axis=0) for probe in chosen]
            array = np.stack([unit_mean(total, self._view.constant) for total in sums])
            probes.append(array)
            members += [self._rows[number][list(probe.members)] for probe in chosen]
            identity_of += [number] * len(chosen)
            own_distances += self._own_distances(number, array, [probe.group for probe in chosen])
        if not identity_of:
            return None
        compared = None
        if self._unseen is None:
            other_distances, nearest = self._nearest_others(np.concatenate(probes), np.asarray(identity_of))
        else:
            columns_of = self._columns[np.asarray(identity_of)]
            other_distances, nearest = self._unseen.nearest_others(members, columns_of, self._columns)
            compared = self._unseen.compared_share * len(self._columns)
        return Trials(
            probe_size=probe_size,
            identities=len(self._columns),
            other_distances=other_distances,
            own_distances=np.asarray(own_distances),
            identity_of=np.asarray(identity_of),
            nearest=nearest,
            compared=compared,
        )

    def _probes_of(self, number: int, probe_size: int) -> list[_Probe]:
        """Return the probes of one identity: single images, or means of images of one group."""
        entries = self._entries[number]
        found: list[_Probe] = []
        for group in self._groups[number].groups:
            images = [position for position in group if entries[position].origin != "track"]
            if probe_size == 1:
                found += [_Probe((position,), group) for position in images]
                continue
            # An entry that was enrolled from a track is the mean of its observations already.
            found += [_Probe((position,), group) for position in group if entries[position].origin == "track"]
            if len(images) > 1:
                starts = np.linspace(0, max(0, len(images) - probe_size), _MAX_MEANS).astype(int)
                found += [
                    _Probe(tuple(images[start : start + probe_size]), group) for start in np.unique(starts).tolist()
                ]
        most = max(1, self._max_probes // len(self._columns))
        if len(found) > most:
            found = [found[position] for position in np.linspace(0, len(found) - 1, most).astype(int)]
        return found

    def _own_distances(
        self, number: int, probes: NDArray[np.float32], groups: Sequence[tuple[int, ...]]
    ) -> list[float]:
        """Return the distance of each probe to the entries of its identity outside its group; NaN for none."""
        if self._groups[number].separation < max(self._separation, Separation.FILE_ORDER):
            return [np.nan] * len(probes)
        similarities = probes @ self._view.embeddings[self._rows[number]].T
        is_track = np.asarray([entry.origin == "track" for entry in self._entries[number]])
        found = []
        for row, group in zip(similarities, groups, strict=True):
            is_other = np.ones(len(row), bool)
            is_other[list(group)] = False
            if not is_other.any():
                found.append(np.nan)
                continue
            # As in `GalleryView.identity_distances`, for a gallery without the group.
            penalty = np.where(is_track & (is_other & ~is_track).any(), TRACK_PENALTY, 0.0)
            found.append(float(np.clip(1.0 - (row - penalty)[is_other].max(), 0.0, 2.0)))
        return found

    def _nearest_others(
        self, probes: NDArray[np.float32], identity_of: NDArray[np.intp]
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Return (P,) the distance of each probe to the nearest other identity of its class, and (P,) its number."""
        distances = np.empty(len(probes))
        nearest = np.empty(len(probes), np.intp)
        block = block_rows(len(self._view))
        for start in range(0, len(probes), block):
            part = slice(start, start + block)
            to_identities = self._view.identity_distances(probes[part])[:, self._columns]
            to_identities[np.arange(len(to_identities)), identity_of[part]] = np.inf
            nearest[part] = to_identities.argmin(axis=1)
            distances[part] = to_identities.min(axis=1)
        return distances, nearest
