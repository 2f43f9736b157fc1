"""The distance at which a name should be given, found from the gallery itself.

What is measured is what a run does, open set. A *stranger* is an identity that is left out of the gallery as a
whole: whom does it come nearest to, and how near? The share of its probes that would get a name is the false
accept rate (FPIR of ISO/IEC 19795-1, for a gallery of this size). A *known* person is probed with an appearance
(a camera, a visit, a burst of images) that is left out: the share of probes that do not come nearest to their own
identity within the threshold is the miss rate (FNIR). A probe is one entry, as a track's first look is, or the
mean of several of one appearance, as the evidence on a track is later on. docs/calibration.md tells more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gallery_db.analysis.anomalies import Anomalies, find_anomalies
from gallery_db.analysis.entry_groups import EntryGroups, Separation, group_entries
from gallery_db.analysis.thresholds import DEFAULT_THRESHOLD
from gallery_db.entry import Entry
from gallery_db.errors import GalleryError
from gallery_db.gallery import Gallery
from gallery_db.search.view import TRACK_PENALTY, GalleryView

__all__ = [
    "DEFAULT_FAR",
    "DEFAULT_LOOKS",
    "Calibration",
    "Curve",
    "OperatingPoint",
    "Rate",
    "calibrate_gallery",
    "calibrate_view",
]

DEFAULT_FAR = 0.05
"""False accept rate that is calibrated for: one probe in twenty of strangers gets somebody's name."""
DEFAULT_LOOKS = 5
"""Looks in the mean that stands for a track's evidence."""

MIN_IDENTITIES = 5
MIN_PROBES = 10
FEW_IDENTITIES = 20
"""Below, thresholds are told with a word of caution, and the default may stand."""
COUNTED_FROM = 2
"""False accepts that must be expected for a rate to be counted: the nearest alone may be a wrong label."""
FIT_REACH = 4
"""A fit speaks of rates down to 1 / (this * identities)."""

_RATES = (0.1, 0.05, 0.01, 0.001)  # of the table
_WINDOWS = 4  # means of one appearance, at most
_MOST_PROBES = 20_000
_CELLS = 1 << 24  # of one block of distances: 64 MiB
_STEPS = 400  # of a curve
_ROUNDS = 1000
_SURE = 0.95
_SMALLEST = 1e-3  # distances below are rounding
_EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)

How = Literal["counted", "fitted"]
"""Where a rate comes from: from false accepts that were seen, or from a distribution fitted to the distances."""


@dataclass(frozen=True, slots=True)
class Rate:
    """An estimate with its 95 % interval, by a bootstrap over identities.

    Attributes:
        estimate: The estimate.
        low: Lower end of the interval.
        high: Upper end.
    """

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """The detection error trade-off for one kind of probe.

    Attributes:
        looks: Looks in a probe, at most.
        probes: Number of probes.
        identities: Number of identities that they are of.
        known_probes: Number of them that have another appearance of their identity to be known by.
        known_identities: Number of identities that those are of.
        thresholds: (T,) ascending distances.
        fpir: (T,) share of strangers' probes that get a name.
        fpir_low, fpir_high: (T,) its 95 % interval.
        fnir: (T,) share of known people's probes that do not get their name; NaN where nobody is known.
        fnir_low, fnir_high: (T,) its interval.
        wrong: (T,) share of known people's probes that get another's name.
        equal_error: Where both rates are equal; None where nobody is known.
        equal_error_threshold: The distance there; None likewise.
        smallest_far: The smallest false accept rate that can be counted, not fitted.
        others: (P,) distance of each probe to the nearest other identity.
        own: (K,) distance of each known probe to its own identity.
        others_weights: (P,) share of each probe; all identities weigh the same.
        own_weights: (K,) likewise.
    """

    looks: int
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
    others: NDArray[np.float64]
    own: NDArray[np.float64]
    others_weights: NDArray[np.float64]
    own_weights: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold for a wanted false accept rate, and what it costs.

    Attributes:
        far: The rate that was wanted.
        how: Where the threshold comes from.
        threshold: Cosine distance, with its interval.
        fpir: The false accept rate there, of the probes that it is for.
        fnir: The miss rate there; None where nobody is known.
        wrong: Share of known people's probes that get another's name; None likewise.
        single_fpir: The false accept rate of single looks at the same threshold; None where there are none.
        single_fnir: Their miss rate.
    """

    far: float
    how: How
    threshold: Rate
    fpir: Rate
    fnir: Rate | None
    wrong: float | None
    single_fpir: float | None
    single_fnir: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What a gallery tells of one class.

    Attributes:
        class_name: The class.
        entries: Number of its entries.
        identities: Number of its identities.
        apart: What tells the appearances of known people apart: ``"camera"``, ``"source"``, ``"file_order"``
            or ``"nothing"``.
        looks: Looks in the mean that stands for a track's evidence.
        single: Single looks; None where there are too few images.
        mean: Means of looks; None where there are too few.
        chosen: For the wanted rate, of means where there are any; None where the data cannot tell at all.
        points: For usual rates, as far as the data tells.
        problems: Why the threshold should not be relied on; nothing where it may.
        default_stands: Whether runs should rather go on with `DEFAULT_THRESHOLD`: no rate was asked for, there are
            fewer than `FEW_IDENTITIES`, the default lies in the interval of the threshold, and at the default most of
            them, taken for strangers, get no name.
        notes: What else a user should know.
        suspects: What looks wrong among the entries.
    """

    class_name: str
    entries: int
    identities: int
    apart: str
    looks: int
    single: Curve | None
    mean: Curve | None
    chosen: OperatingPoint | None
    points: tuple[OperatingPoint, ...]
    problems: tuple[str, ...]
    default_stands: bool
    notes: tuple[str, ...]
    suspects: Anomalies


def calibrate_gallery(
    gallery: Gallery, *, far: float | None = None, looks: int = DEFAULT_LOOKS, class_name: str | None = None
) -> tuple[Calibration, ...]:
    """Calibrate the open collection, each class apart.

    Args:
        gallery: Open.
        far: The wanted false accept rate, between 0 and 0.5; None for `DEFAULT_FAR`, unless the default threshold
            stands (see `Calibration`).
        looks: Looks in the mean that stands for a track's evidence, at least 2.
        class_name: Only this class.

    Raises:
        GalleryError: There are no entries (of that class), or an argument makes no sense.
    """
    view = gallery.view()
    entries = {entry.id: entry for entry in gallery.entries()}
    # Both are of one moment, or of two with a change between; what is in one alone is left out.
    shown = [entries.get(id_) for id_ in view.entry_ids]
    if any(entry is None for entry in shown):
        return calibrate_gallery(gallery, far=far, looks=looks, class_name=class_name)
    return calibrate_view(view, [e for e in shown if e is not None], far=far, looks=looks, class_name=class_name)


def calibrate_view(
    view: GalleryView,
    entries: Sequence[Entry],
    *,
    far: float | None = None,
    looks: int = DEFAULT_LOOKS,
    class_name: str | None = None,
) -> tuple[Calibration, ...]:
    """`calibrate_gallery` for a view and its entries, by row."""
    if far is not None and not 0.0 < far < 0.5:
        raise GalleryError(f"Expected a false accept rate between 0 and 0.5, found {far}.", hint="Such as 0.05.")
    if looks < 2:
        raise GalleryError(f"Expected a mean of at least 2 looks, found {looks}.", hint="Such as 5.")
    classes: dict[str, list[int]] = {}
    for column, name in enumerate(view.identity_classes):
        classes.setdefault(name.casefold(), []).append(column)
    if class_name is not None:
        if class_name.casefold() not in classes:
            raise GalleryError(
                f"The gallery holds nothing of class {class_name!r}.",
                hint=f"It holds {', '.join(sorted(classes)) or 'no entries at all'}.",
            )
        classes = {class_name.casefold(): classes[class_name.casefold()]}
    if not classes:
        raise GalleryError("The gallery is empty; there is nothing to calibrate from.", hint="Ingest images first.")
    suspects = find_anomalies(view)
    return tuple(
        _Class(view, entries, np.asarray(classes[name]), far, looks, _of_class(suspects, name)).calibration()
        for name in sorted(classes)
    )


def _of_class(suspects: Anomalies, folded: str) -> Anomalies:
    return Anomalies(
        tuple(one for one in suspects.alike if one.class_name.casefold() == folded),
        tuple(one for one in suspects.misplaced if one.class_name.casefold() == folded),
        tuple(one for one in suspects.mixed if one.class_name.casefold() == folded),
        tuple(one for one in suspects.duplicates if one.class_name.casefold() == folded),
    )


class _Class:
    """The entries of one class, and the probes that they make."""

    def __init__(
        self,
        view: GalleryView,
        entries: Sequence[Entry],
        columns: NDArray[np.intp],
        far: float | None,
        looks: int,
        suspects: Anomalies,
    ) -> None:
        self._view = view
        self._columns = columns
        self._name = view.identity_classes[columns[0]]
        self._far = DEFAULT_FAR if far is None else far
        self._asked = far is not None
        self._looks = looks
        self._suspects = suspects
        of = view.row_columns
        order = np.argsort(of, kind="stable")
        starts = np.searchsorted(of[order], columns)
        stops = np.searchsorted(of[order], columns, side="right")
        self._rows = [order[start:stop] for start, stop in zip(starts, stops, strict=True)]
        self._entries = [[entries[row] for row in rows] for rows in self._rows]
        self._seen: list[EntryGroups] = [group_entries(some, looks) for some in self._entries]
        self._apart = self._comparable()

    def _comparable(self) -> Separation:
        """The best that enough identities offer to compare them with themselves."""
        for level in (Separation.CAMERA, Separation.SOURCE, Separation.FILE_ORDER):
            if sum(seen.apart >= level for seen in self._seen) >= MIN_IDENTITIES:
                return level
        return max((seen.apart for seen in self._seen), default=Separation.NOTHING)

    def calibration(self) -> Calibration:
        """All of it."""
        count = sum(map(len, self._rows))
        single = self._trials(1) if len(self._columns) > 1 else None
        mean = self._trials(self._looks) if len(self._columns) > 1 else None
        if mean is not None and not mean.enough and (single is None or single.enough):
            mean = None
        curves = [None if trials is None else trials.curve() for trials in (single, mean)]
        basis = mean or single
        problems = self._problems(basis)
        points = []
        chosen = None
        if basis is not None and basis.can_be_fitted:
            for rate in sorted({*_RATES, self._far}, reverse=True):
                if rate == self._far or rate >= basis.smallest_fitted:
                    points.append(basis.point(rate, single))
            chosen = next(point for point in points if point.far == self._far)
            if self._far < min(basis.smallest_fitted, basis.smallest_counted):
                problems.append(
                    f"{len(self._columns)} identities tell of false accept rates down to "
                    f"{basis.smallest_fitted:.2g} with a fitted distribution, and {self._far:g} was wanted"
                )
        return Calibration(
            class_name=self._name,
            entries=count,
            identities=len(self._columns),
            apart=self._apart.name.lower(),
            looks=self._looks,
            single=curves[0],
            mean=curves[1],
            chosen=chosen,
            points=tuple(points),
            problems=tuple(problems),
            default_stands=not self._asked and self._default_stands(basis, chosen),
            notes=tuple(self._notes(basis, mean, chosen)),
            suspects=self._suspects,
        )

    def _default_stands(self, basis: _Trials | None, chosen: OperatingPoint | None) -> bool:
        if basis is None or chosen is None or len(self._columns) >= FEW_IDENTITIES:
            return False
        at = chosen.threshold
        return at.low <= DEFAULT_THRESHOLD <= at.high and basis.false_accept_rate(DEFAULT_THRESHOLD) <= 0.5

    def _problems(self, basis: _Trials | None) -> list[str]:
        problems = []
        if len(self._columns) < MIN_IDENTITIES:
            problems.append(f"there are {len(self._columns)} identities, and at least {MIN_IDENTITIES} are needed")
        elif basis is None or not basis.enough:
            found = 0 if basis is None else len(basis.others)
            problems.append(
                f"there are {found} probes, and at least {MIN_PROBES} of {MIN_IDENTITIES} identities are needed"
            )
        return problems

    def _notes(self, basis: _Trials | None, mean: _Trials | None, chosen: OperatingPoint | None) -> list[str]:
        notes: list[str] = []
        if basis is None:
            return notes
        if mean is None:
            notes.append("too few identities have several images of one appearance: the threshold is for single looks")
        if chosen is not None and chosen.how == "fitted":
            notes.append(
                f"{len(self._columns)} identities show false accept rates down to {basis.smallest_counted:.2g}; "
                "below, a distribution fitted to the distances is used"
            )
            if len(self._columns) < FEW_IDENTITIES:
                notes.append(
                    f"of {len(self._columns)} identities a fit is mostly caution: the right threshold may well lie "
                    "anywhere in its interval, and more people in the gallery narrow it"
                )
        if self._apart is Separation.FILE_ORDER:
            notes.append(
                "the entries tell of no camera, source or time, so that known people are compared within what may be "
                "one burst: expect more misses than told here (the threshold does not depend on them)"
            )
        if self._apart is Separation.NOTHING or not basis.known.any():
            notes.append("nobody has a second appearance, so that nothing is known of misses")
        if self._suspects.alike or self._suspects.misplaced or self._suspects.duplicates:
            notes.append(
                "some entries look wrong, and the threshold is stricter for them if they are: correct them and "
                "calibrate again"
            )
        return notes

    # -- probes ----------------------------------------------------------------------------------------------

    def _probes_of(self, number: int, looks: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """(positions that make the probe, positions of its appearance) of an identity."""
        entries = self._entries[number]
        found: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        for group in self._seen[number].groups:
            images = [place for place in group if entries[place].origin != "track"]
            if looks == 1:
                found += [((place,), group) for place in images]
                continue
            # What was enrolled from a track is the mean of its looks already.
            found += [((place,), group) for place in group if entries[place].origin == "track"]
            if len(images) > 1:
                steps = np.linspace(0, max(0, len(images) - looks), _WINDOWS).astype(int)
                found += [(tuple(images[start : start + looks]), group) for start in np.unique(steps).tolist()]
        most = max(1, _MOST_PROBES // len(self._columns))
        if len(found) > most:
            found = [found[place] for place in np.linspace(0, len(found) - 1, most).astype(int)]
        return found

    def _trials(self, looks: int) -> _Trials | None:
        vectors = self._view.embeddings
        step = -(-len(self._columns) // _MOST_PROBES)
        probes: list[NDArray[np.float32]] = []
        numbers: list[int] = []
        own: list[float] = []
        for number in range(0, len(self._columns), step):
            made = self._probes_of(number, looks)
            if not made:
                continue
            mine = vectors[self._rows[number]]
            array = np.stack([mine[list(places)].sum(axis=0) for places, _ in made])
            array /= np.maximum(np.linalg.norm(array, axis=1, keepdims=True), 1e-9)
            probes.append(array.astype(np.float32))
            numbers += [number] * len(made)
            own += self._own_distances(number, array, [group for _, group in made])
        if not numbers:
            return None
        others, nearest = self._nearest_others(np.concatenate(probes), np.asarray(numbers))
        return _Trials(looks, len(self._columns), others, np.asarray(own), np.asarray(numbers), nearest)

    def _own_distances(
        self, number: int, probes: NDArray[np.float32], groups: Sequence[tuple[int, ...]]
    ) -> list[float]:
        """Distance of each probe to what its identity has beside the probe's appearance; NaN for nothing."""
        if self._seen[number].apart < max(self._apart, Separation.FILE_ORDER):
            return [np.nan] * len(probes)
        similarity = probes @ self._view.embeddings[self._rows[number]].T
        enrolled = np.asarray([entry.origin == "track" for entry in self._entries[number]])
        found = []
        for row, group in zip(similarity, groups, strict=True):
            rest = np.ones(len(row), bool)
            rest[list(group)] = False
            if not rest.any():
                found.append(np.nan)
                continue
            # As `GalleryView.identity_distances` has it, of a gallery without the appearance.
            loss = np.where(enrolled & (rest & ~enrolled).any(), TRACK_PENALTY, 0.0)
            found.append(float(np.clip(1.0 - (row - loss)[rest].max(), 0.0, 2.0)))
        return found

    def _nearest_others(
        self, probes: NDArray[np.float32], numbers: NDArray[np.intp]
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """(P,) distance of each probe to the nearest other identity of its class, and (P,) which that is."""
        others = np.empty(len(probes))
        nearest = np.empty(len(probes), np.intp)
        block = max(1, min(1024, _CELLS // len(self._view)))
        for start in range(0, len(probes), block):
            part = slice(start, start + block)
            some = self._view.identity_distances(probes[part])[:, self._columns]
            some[np.arange(len(some)), numbers[part]] = np.inf
            nearest[part] = some.argmin(axis=1)
            others[part] = some.min(axis=1)
        return others, nearest


class _Trials:
    """One kind of probe, compared with everybody."""

    def __init__(
        self,
        looks: int,
        identities: int,
        others: NDArray[np.float64],
        own: NDArray[np.float64],
        numbers: NDArray[np.intp],
        nearest: NDArray[np.intp],
    ) -> None:
        self.looks = looks
        self.identities = identities
        self.others = np.maximum(others, _SMALLEST)
        self.own = own
        self.known = ~np.isnan(own)
        self._who, self._index, self._sizes = np.unique(numbers, return_inverse=True, return_counts=True)
        self.enough = len(others) >= MIN_PROBES and len(self._who) >= MIN_IDENTITIES
        self._clusters = self._mutual(numbers, nearest)
        self._count = int(self._clusters.max()) + 1
        self._fit = _Fit(self.others, self._clusters[self._index])
        self.can_be_fitted = self._count > 1
        self.smallest_counted = COUNTED_FROM / (min(self._fit.effective, self._count) + 1)
        self.smallest_fitted = 1.0 / (FIT_REACH * identities)
        generator = np.random.default_rng(0)  # the same gallery gives the same answer
        # Half as many as there are: a distance belongs to the two identities that it is between, so that n of them
        # make about n / 2 observations. (With n, upper ends held for 7 in 10 simulated galleries of 8 to 40.)
        number = max(2, round(self._count / 2))
        draws = generator.multinomial(number, np.full(self._count, 1 / self._count), _ROUNDS)
        self._draws: NDArray[np.float64] = draws.astype(np.float64)
        self._ends = _interval_ends(number)

    def _mutual(self, numbers: NDArray[np.intp], nearest: NDArray[np.intp]) -> NDArray[np.intp]:
        """Identities that are each other's nearest are one observation of a small distance, and not two."""
        closest: dict[int, int] = {}
        for row in np.argsort(self.others, kind="stable").tolist():
            closest.setdefault(int(numbers[row]), int(nearest[row]))
        first = [min(who, closest[who]) if closest.get(closest[who]) == who else who for who in closest]
        label = dict(zip(closest, first, strict=True))
        return np.unique([label[int(who)] for who in self._who], return_inverse=True)[1].astype(np.intp)

    # -- rates -----------------------------------------------------------------------------------------------

    def _grow(self, rate: NDArray[np.float64]) -> NDArray[np.float64]:
        """From a gallery that lacks one identity, as each trial had it, to the whole one."""
        whole: NDArray[np.float64] = 1.0 - (1.0 - rate) ** (self.identities / (self.identities - 1))
        return whole

    def _shrink(self, rate: float) -> float:
        return float(1.0 - (1.0 - rate) ** ((self.identities - 1) / self.identities))

    def _shares(
        self, hits: NDArray[np.bool_], rows: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Per cluster: (C, T) sum over its identities of the share of hits (P, T), and (C,) their number."""
        index = self._index if rows is None else self._index[rows]
        sizes = np.bincount(index, minlength=len(self._who))
        sums = np.zeros((len(self._who), hits.shape[1]))
        order = np.argsort(index, kind="stable")
        there = np.flatnonzero(sizes)
        starts = np.searchsorted(index[order], there)
        sums[there] = np.add.reduceat(hits[order], starts, axis=0, dtype=np.float64) / sizes[there, None]
        shares = np.zeros((self._count, hits.shape[1]))
        np.add.at(shares, self._clusters, sums)
        members = np.zeros(self._count)
        np.add.at(members, self._clusters, (sizes > 0).astype(np.float64))
        return shares, members

    def _rate(
        self, hits: NDArray[np.bool_], rows: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(T,) the rate, and (B, T) what the bootstrap makes of it; NaN where it drew nobody."""
        shares, members = self._shares(hits, rows)
        total = self._draws @ members
        with np.errstate(invalid="ignore"):
            drawn = (self._draws @ shares) / np.where(total > 0, total, np.nan)[:, None]
        return shares.sum(axis=0) / members.sum(), drawn

    def _false_accepts(self, thresholds: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        estimate, drawn = self._rate(self.others[:, None] <= thresholds)
        return self._grow(estimate), self._grow(drawn)

    def false_accept_rate(self, threshold: float) -> float:
        """Of the strangers, as counted."""
        return float(self._false_accepts(np.asarray([threshold]))[0][0])

    def _misses(self, thresholds: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        own, others = self.own[self.known][:, None], self.others[self.known][:, None]
        return self._rate((own > thresholds) | (others < own), self.known)

    def _wrong(self, thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
        own, others = self.own[self.known][:, None], self.others[self.known][:, None]
        return self._rate((others < own) & (others <= thresholds), self.known)[0]

    def curve(self) -> Curve:
        """The rates over all thresholds."""
        marks = np.concatenate([self.others, self.own[self.known]])
        steps = np.quantile(marks, np.linspace(0, 1, _STEPS))
        thresholds = np.unique(np.concatenate([[0.0], steps]))
        fpir, fpir_drawn = self._false_accepts(thresholds)
        low, high = np.quantile(fpir_drawn, self._ends, axis=0)
        nothing = np.full(len(thresholds), np.nan)
        fnir = fnir_low = fnir_high = wrong = nothing
        equal, equal_at = None, None
        if self.known.any():
            fnir, fnir_drawn = self._misses(thresholds)
            fnir_low, fnir_high = np.nanquantile(fnir_drawn, self._ends, axis=0)
            wrong = self._wrong(thresholds)
            drawn = _crossing(thresholds, fpir_drawn, fnir_drawn)[1]
            at, rate = _crossing(thresholds, fpir[None], fnir[None])
            equal_low, equal_high = np.nanquantile(drawn, self._ends)
            equal, equal_at = Rate(float(rate[0]), float(equal_low), float(equal_high)), float(at[0])
        known = self._index[self.known]
        known_sizes = np.bincount(known, minlength=len(self._who))
        return Curve(
            looks=self.looks,
            probes=len(self.others),
            identities=len(self._who),
            known_probes=int(self.known.sum()),
            known_identities=int((known_sizes > 0).sum()),
            thresholds=thresholds,
            fpir=fpir,
            fpir_low=low,
            fpir_high=high,
            fnir=fnir,
            fnir_low=fnir_low,
            fnir_high=fnir_high,
            wrong=wrong,
            equal_error=equal,
            equal_error_threshold=equal_at,
            smallest_far=self.smallest_counted,
            others=self.others,
            own=self.own[self.known],
            others_weights=1.0 / (self._sizes[self._index] * len(self._who)),
            own_weights=1.0 / (known_sizes[known] * max(1, (known_sizes > 0).sum())),
        )

    def point(self, far: float, single: _Trials | None) -> OperatingPoint:
        """The threshold for a rate."""
        wanted = self._shrink(far)
        how: How = "counted" if wanted >= self.smallest_counted else "fitted"
        everybody = np.ones((1, self._count))
        if how == "counted":
            at = float(self._quantile(wanted, everybody)[0])
            drawn = self._quantile(wanted, self._draws)
        else:
            at = float(self._fit.quantile(wanted, everybody)[0])
            drawn = self._fit.quantile(wanted, self._draws)
        low, high = np.quantile(drawn, self._ends)
        here = np.asarray([at])
        counted, counted_drawn = self._false_accepts(here)
        # The wider of two: one knows nothing of what has not been seen, the other only of bells.
        drawn_rates = np.stack([counted_drawn[:, 0], self._grow(self._fit.share_below(at, self._draws))])
        rate_low, rate_high = np.quantile(drawn_rates, self._ends, axis=1)
        estimate = float(counted[0]) if how == "counted" else far
        fnir, wrong = None, None
        if self.known.any():
            missed, missed_drawn = self._misses(here)
            fnir = Rate(float(missed[0]), *map(float, np.nanquantile(missed_drawn[:, 0], self._ends)))
            wrong = float(self._wrong(here)[0])
        return OperatingPoint(
            far=far,
            how=how,
            threshold=Rate(at, float(low), float(high)),
            fpir=Rate(estimate, float(rate_low.min()), float(rate_high.max())),
            fnir=fnir,
            wrong=wrong,
            single_fpir=None if single is None else single.false_accept_rate(at),
            single_fnir=None if single is None or not single.known.any() else float(single._misses(here)[0][0]),
        )

    def _quantile(self, rate: float, draws: NDArray[np.float64]) -> NDArray[np.float64]:
        """(B,) the distance that a share of strangers is nearer than, for each draw of clusters (B, C)."""
        order = np.argsort(self.others, kind="stable")
        weights = (1.0 / self._sizes[self._index])[order]
        clusters = self._clusters[self._index][order]
        effective = min(self._fit.effective, self._count)
        sorted_others = self.others[order]
        found = np.empty(len(draws))
        for row, draw in enumerate(draws):
            share = np.cumsum(weights * draw[clusters])
            # r of n are below the r-th smallest; of further ones, r of n + 1 can be expected to be.
            found[row] = np.interp(rate, share / share[-1] * (effective / (effective + 1)), sorted_others)
        return found


class _Fit:
    """A normal distribution of the distances, after a Box-Cox transform, with an effect of each cluster's own.

    The limits are prediction limits: Student's t in the place of the normal distribution, so that they hold for
    strangers who were not there, and are the stricter, the fewer identities there are.
    """

    def __init__(self, distances: NDArray[np.float64], clusters: NDArray[np.intp]) -> None:
        logs = np.log(distances)
        self._sizes = np.bincount(clusters).astype(np.float64)
        self._log_means = np.bincount(clusters, logs) / self._sizes
        self._means: list[NDArray[np.float64]] = []
        self._squares: list[NDArray[np.float64]] = []
        for exponent in _EXPONENTS:
            values = _box_cox(distances, exponent)
            means = np.bincount(clusters, values) / self._sizes
            self._means.append(means)
            squares = np.zeros(len(self._sizes))
            np.add.at(squares, clusters, (values - means[clusters]) ** 2)
            self._squares.append(squares)
        if len(self._sizes) > 1:
            number = len(distances)
            _, between, within, *_ = self._moments(np.ones((1, len(self._sizes))))
            alike = float(between[0] / max(between[0] + within[0], 1e-12))
            self.effective = number / (1.0 + (number / len(self._sizes) - 1.0) * alike)
        else:
            self.effective = 1.0

    def _moments(self, draws: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """(B,) each: mean, variance between clusters and within, number per cluster, degrees of freedom, exponent."""
        best: tuple[NDArray[np.float64], ...] | None = None
        likelihood = np.full(len(draws), -np.inf)
        groups = draws.sum(axis=1)
        total = draws @ self._sizes
        typical = (total - draws @ self._sizes**2 / total) / np.maximum(groups - 1, 1)
        inside = np.maximum(total - groups, 1)
        for exponent, means, squares in zip(_EXPONENTS, self._means, self._squares, strict=True):
            mean = draws @ means / groups
            within = draws @ squares / inside
            pooled = draws @ (means * self._sizes) / total
            spread = draws @ (self._sizes * means**2) - total * pooled**2
            outside = np.maximum(spread, 0.0) / np.maximum(groups - 1, 1)
            between = np.maximum((outside - within) / typical, 0.0)
            variance = np.maximum(between + within, 1e-12)
            # Satterthwaite's degrees of freedom of a sum of two mean squares.
            parts = (outside / typical) ** 2 / np.maximum(groups - 1, 1)
            parts += ((1 - 1 / typical) * within) ** 2 / inside
            freedom = np.where(between > 0, variance**2 / np.maximum(parts, 1e-18), total - 1)
            fit = -0.5 * np.log(variance) + (exponent - 1.0) * (draws @ self._log_means / groups)
            found = (mean, between, within, total / groups, np.maximum(freedom, 1.0), np.full(len(draws), exponent))
            better = fit > likelihood
            best = found if best is None else tuple(np.where(better, f, b) for f, b in zip(found, best, strict=True))
            likelihood = np.maximum(fit, likelihood)
        assert best is not None
        return best

    def _scale(self, draws: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        mean, between, within, each, freedom, exponent = self._moments(draws)
        uncertain = (between + within / each) / draws.sum(axis=1)
        return mean, np.sqrt(between + within + uncertain), freedom, exponent

    def quantile(self, rate: float, draws: NDArray[np.float64]) -> NDArray[np.float64]:
        """(B,) the distance that a share of strangers is nearer than."""
        from scipy.stats import t

        mean, scale, freedom, exponent = self._scale(draws)
        limit = mean + np.asarray(t.ppf(rate, freedom)) * scale
        with np.errstate(divide="ignore"):
            power = np.maximum(exponent * limit + 1.0, 0.0) ** (1.0 / np.maximum(exponent, 1e-9))
        return np.clip(np.where(exponent > 0, power, np.exp(np.minimum(limit, 1.0))), 0.0, 2.0)

    def share_below(self, distance: float, draws: NDArray[np.float64]) -> NDArray[np.float64]:
        """(B,) the share of strangers that is nearer than a distance."""
        from scipy.stats import t

        mean, scale, freedom, exponent = self._scale(draws)
        near = max(distance, _SMALLEST)
        value = np.where(exponent > 0, (near**exponent - 1) / np.maximum(exponent, 1e-9), np.log(near))
        share: NDArray[np.float64] = np.asarray(t.cdf((value - mean) / np.maximum(scale, 1e-9), freedom), np.float64)
        return share


def _interval_ends(count: int) -> tuple[float, float]:
    """Which percentiles of a bootstrap over few things are the ends of an interval (Hesterberg, 2015, 4.1)."""
    from scipy.stats import norm, t

    freedom = max(count - 1, 1)
    low = float(norm.cdf(np.sqrt(count / freedom) * t.ppf((1.0 - _SURE) / 2, freedom)))
    return low, 1.0 - low


def _box_cox(values: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    changed: NDArray[np.float64] = np.log(values) if exponent == 0 else (values**exponent - 1.0) / exponent
    return changed


def _crossing(
    thresholds: NDArray[np.float64], rising: NDArray[np.float64], falling: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(B,) where two curves (B, T) meet, and (B,) the mean of the two there."""
    place = np.argmin(np.abs(np.nan_to_num(rising - falling, nan=2.0)), axis=1)
    rows = np.arange(len(rising))
    return thresholds[place], (rising[rows, place] + falling[rows, place]) / 2
