"""Who is who: from embeddings and a gallery to one identity a track, at most once in a frame.

This room knows vectors, track ids and frame numbers; it knows nothing of video, BoxMOT or Chroma.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tracking.identification.explanation import Explanation
from tracking.identification.explanation import explain as explain_stretch
from tracking.identification.track_evidence import (
    DecisionRule,
    EvidenceSample,
    Status,
    TrackEvidence,
    Tracklet,
    are_different_classes,
)

__all__ = [
    "IdentitySource",
    "Named",
    "NamedTracklet",
    "TrackIdentifier",
    "assign_identities",
    "name_detections",
]


class IdentitySource(Protocol):
    """What naming asks of a gallery; `gallery_db.GalleryView` is one."""

    @property
    def identities(self) -> Sequence[str]:
        """Names, one a column of `identity_distances`. New ones may follow; none is renumbered."""
        ...

    def identity_distances(
        self,
        probes: NDArray[np.float32],
        class_names: Sequence[str | None],
        *,
        limit: float | None = None,
        nearest: int | None = None,
        held: Sequence[int] | None = None,
    ) -> NDArray[np.float32]:
        """(P, I) cosine distance of each probe to each identity's nearest entry; inf across classes.

        One beyond the limit, or beyond the so many `nearest`, is exact or inf, but for the columns that are `held`
        (P, -1 for none).
        """
        ...


@runtime_checkable
class EntrySource(IdentitySource, Protocol):
    """A gallery that also shows an identity's entries; `gallery_db.GalleryView` is one."""

    def column_embeddings(self, column: int) -> NDArray[np.float32]:
        """(n, D) the embeddings of one column of `identity_distances`, rows of unit length."""
        ...


@dataclass(frozen=True, slots=True)
class Named:
    """An identity and its evidence.

    Attributes:
        identity: The name in the gallery.
        distance: Cosine distance of the evidence to that identity, in [0, 2].
    """

    identity: str
    distance: float


@dataclass(frozen=True, slots=True)
class NamedTracklet:
    """A part of a track that shows one person, and who that is.

    Attributes:
        track_id: The track.
        first, last: Its frames, both included.
        certain_from: The frame from which on it surely shows whom it shows in the end.
        known_from: The frame from which on it was known to have begun.
        named: The identity that was decided on at its end, or None.
        class_name: Its class; None where unknown.
        samples: Its looks.
        runs: Frames in which it was seen, (first, last), as far as it goes.
        why: What the decision rests on, where that was asked.
        final: Whether `named` was decided from the whole run: what it was called as it ran then counts for nothing.
    """

    track_id: int
    first: int
    certain_from: int
    known_from: int
    last: int
    named: Named | None
    class_name: str | None = None
    samples: tuple[EvidenceSample, ...] = ()
    runs: tuple[tuple[int, int], ...] = ()
    final: bool = False
    why: Explanation | None = None


def assign_identities(distances: NDArray[np.floating], threshold: float) -> NDArray[np.int64]:
    """One-to-one assignment of rows to identities.

    To leave a row unnamed costs as much as a match at the threshold. (Maximising the number of
    matches instead would push a person onto a second-best name to free the best one for somebody
    who resembles it less.) Solved by the Hungarian method (Kuhn, 1955).

    Args:
        distances: (R, I), inf where a pair is impossible.
        threshold: Largest accepted distance, inclusive.

    Returns:
        (R,) column of each row, or -1.
    """
    result = np.full(distances.shape[0], -1, np.int64)
    accepted = distances <= threshold
    rows = np.flatnonzero(accepted.any(axis=1))
    columns = np.flatnonzero(accepted.any(axis=0))
    if not rows.size:
        return result
    if rows.size == 1:
        result[rows[0]] = int(np.argmin(distances[rows[0]]))
        return result
    from scipy.optimize import linear_sum_assignment

    block = np.ix_(rows, columns)
    # A tiny constant makes an acceptable match at exactly the threshold better than none.
    gain = np.where(accepted[block], distances[block] - threshold - 1e-9, 0.0)
    chosen_rows, chosen_columns = linear_sum_assignment(gain)
    taken = accepted[block][chosen_rows, chosen_columns]
    result[rows[chosen_rows[taken]]] = columns[chosen_columns[taken]]
    return result


def name_detections(
    source: IdentitySource,
    embeddings: NDArray[np.float32],
    class_names: Sequence[str | None],
    threshold: float,
) -> list[Named | None]:
    """Name the detections of one frame from a single look each, no name twice.

    Args:
        source: The gallery.
        embeddings: (N, D) float32 unit vectors.
        class_names: The class of each, None where unknown.
        threshold: Largest accepted cosine distance.
    """
    if not len(embeddings):
        return []
    distances = source.identity_distances(embeddings, class_names, limit=threshold)
    columns = assign_identities(distances, threshold)
    return [Named(source.identities[c], float(distances[r, c])) if c >= 0 else None for r, c in enumerate(columns)]


class TrackIdentifier:
    """Says who each track is: known, unknown or not yet decided, no name twice in a frame.

    Looks at a track add up to evidence (`TrackEvidence`), and its mean is matched. A name needs a mean within
    the accepted distance, with the second-best identity clearly further away, from as many looks as the
    distance calls for (`DecisionRule`). It is lost to repeated contrary looks, or to a track in the same frame
    that fits it clearly better; a track that returns while its name is taken has none meanwhile.

    Looks are spent where they tell something: on new tracks, on those whose evidence is contradicted, on those
    that come out from behind others (where trackers mix people up), on those not decided. In all they cost no
    more than one for each new track and one every `every` frames: what settled tracks leave over is what
    the others spend.

    Args:
        source: The gallery.
        threshold: Largest accepted cosine distance of the mean.
        every: Frames between two looks at a track, on average.
        keep_tracklets: Remember the tracklets of all tracks, for `tracklets`.
        explain: Remember what each decision rests on, too.
    """

    FORGET_AFTER = 10_000
    """Frames after which an unseen track's evidence is dropped: longer than any tracker's buffer."""
    FORGET_EVERY = 1000
    """Frames between two looks at what may be dropped."""
    RISKY = 0.3
    """Overlap from which the tracker may mix two people up."""
    LOST = 3
    """Frames out of sight from which it may, too."""
    OTHERWISE = 3
    """Frames in a row with a box of another class from which it has; fewer are the detector's flicker."""
    CLEAR = 0.15
    """Overlap up to which a look shows the person alone."""
    GOOD = 0.6
    """A sample is good enough from this part of the usual worth of a look on."""
    SUPPORT = 3
    """Entries of an identity that must be near for it to be the best supported one."""
    RIVALS = 5
    """Identities that come into question for a track."""
    SETTLED = 2.0
    """Settled tracks are looked at this much less often than every `every` frames ..."""
    PLENTY = 10.0
    """... but every `every` frames while this many looks are left over."""
    AHEAD = 4.0
    """Looks that may be spent before they are earned."""
    POSTPONE = 3
    """Frames for which a first look at a hidden track is put off."""

    def __init__(
        self,
        source: IdentitySource,
        *,
        threshold: float,
        every: int,
        keep_tracklets: bool = False,
        explain: bool = False,
    ) -> None:
        self._explain = explain
        self._source = source
        self._rule = DecisionRule.of(threshold)
        self._every = max(1, every)
        self._tracks: dict[int, TrackEvidence] = {}
        self._unseen: dict[int, int] = {}
        self._present: frozenset[int] = frozenset()
        self._stale = True
        self._credit = 0.0
        self._thousand = -1
        self._keep = keep_tracklets
        self._done: list[NamedTracklet] = []

    # -- whom to look at -------------------------------------------------------------------------------------

    def due(
        self,
        frame: int,
        track_ids: Sequence[int],
        worth: Sequence[float] | None = None,
        overlap: Sequence[float] | None = None,
        class_names: Sequence[str | None] | None = None,
    ) -> list[int]:
        """Which tracks should be looked at in this frame; to be called once a frame, in order.

        Args:
            frame: Frame number.
            track_ids: The N tracks of the frame.
            worth: N, what is known of the looks' quality; see `box_quality`. All 1 by default.
            overlap: N, the largest overlap of each with another box; see `max_overlap`. All 0 by default.
            class_names: N classes, None where unknown. All unknown by default.

        Returns:
            Positions in `track_ids`, in order.
        """
        self._credit += len(track_ids) / self._every
        wanted: list[tuple[float, float, int]] = []
        first: list[int] = []
        for i, track_id in enumerate(track_ids):
            crowd = overlap[i] if overlap is not None else 0.0
            track = self._tracks.get(track_id)
            if track is None:
                known_from = self._unseen.setdefault(track_id, frame)
                if crowd <= self.RISKY or frame - known_from >= self.POSTPONE:
                    first.append(i)
                continue
            value = worth[i] if worth is not None else 1.0
            kind = class_names[i] if class_names is not None else None
            self._watch(track, frame, crowd, value, kind)
            urgency = self._urgency(track, frame, crowd, value)
            if urgency is not None:
                wanted.append((urgency, -value, i))
        wanted.sort()
        left = max(0, int(self._credit + self.AHEAD))
        chosen = first + [i for _, _, i in wanted[:left]]
        return sorted(chosen)

    def _watch(self, track: TrackEvidence, frame: int, crowd: float, worth: float, class_name: str | None) -> None:
        """Note what may have made the tracker go over to somebody else, or shows that it did."""
        gap = frame - track.last_seen - 1
        track.crowd = max(track.crowd, crowd)
        risk = track.crowd if track.crowd >= self.RISKY else 0.0
        if gap >= self.LOST or (gap > 0 and risk > 0.0):
            risk += min(0.5 + 0.05 * gap, 1.0)
        if risk > track.risk:
            track.risk, track.risk_frame = risk, frame
        other = are_different_classes(class_name, track.tracklet.class_name)
        track.otherwise = track.otherwise + 1 if other else 0
        if track.otherwise == self.OTHERWISE:
            track.risk, track.risk_frame = max(track.risk, 1.0), frame - self.OTHERWISE + 1
        track.worth = worth if track.worth == 0.0 else 0.95 * track.worth + 0.05 * worth

    def _urgency(self, track: TrackEvidence, frame: int, crowd: float, worth: float) -> float | None:
        """How urgent a look at a track is, 0 the most; None for none.

        In this order: evidence that is contradicted; probable swaps (behind somebody and out of sight); tracks
        not decided, at growing intervals; less probable swaps; settled tracks.
        """
        if 0 < track.otherwise < self.OTHERWISE:
            return None
        age = frame - track.last_look
        clear = crowd <= self.CLEAR and worth >= self.GOOD * track.worth
        if track.held:
            wait = 1 if track.risk > 0.0 else 3
            return 0.0 if age >= wait and (crowd <= self.RISKY or age >= self._every // 2) else None
        status = track.status
        if track.risk > 0.5 and age > 1 and (clear or age >= 2 * self._every):
            return 1.0 - 0.1 * track.risk
        if status == "undecided":
            patience = min(self._every, track.tracklet.looks)
            return 2.0 if age >= patience and (clear or age >= 2 * patience) else None
        if track.risk > 0.0:
            return 3.0 - 0.1 * track.risk if (clear and age > 1) or age >= 2 * self._every else None
        if age >= self.SETTLED * self._every:
            return 4.0
        return 5.0 if age >= self._every and self._credit >= self.PLENTY and clear else None

    # -- what is seen ----------------------------------------------------------------------------------------

    def observe(
        self,
        frame: int,
        track_ids: Sequence[int],
        embeddings: NDArray[np.float32],
        qualities: Sequence[float],
        class_names: Sequence[str | None],
    ) -> None:
        """Add one look at each of some tracks.

        Args:
            frame: Frame number.
            track_ids: N tracks.
            embeddings: (N, D) float32 unit vectors.
            qualities: N in [0, 1], what each look is worth; see `observation_quality`.
            class_names: N classes, None where unknown.
        """
        if not len(track_ids):
            return
        _, looks = self._compare(embeddings, class_names, self._held(track_ids))
        means = np.empty_like(embeddings)
        for i, track_id in enumerate(track_ids):
            track = self._tracks.get(track_id)
            if track is None:
                first = self._unseen.pop(track_id, frame)
                samples: list[EvidenceSample] | None = [] if self._keep else None
                tracklet = Tracklet(
                    first,
                    first,
                    np.zeros_like(embeddings[i]),
                    looks[i],
                    looks[i],
                    samples=samples,
                    class_name=class_names[i],
                )
                track = TrackEvidence(self._rule, tracklet, frame, frame)
                if first < frame:
                    track.seen(first)
                self._tracks[track_id] = track
            else:
                self._credit -= 1.0
            before = track.before
            if track.take(frame, embeddings[i], qualities[i], looks[i], class_names[i]) and before is not None:
                self._close(track_id, track, before)
            means[i] = track.tracklet.mean
        kinds = [self._tracks[t].tracklet.class_name for t in track_ids]
        for track_id, near, supported in zip(
            track_ids, *self._compare(means, kinds, self._held(track_ids)), strict=True
        ):
            tracklet = self._tracks[track_id].tracklet
            tracklet.distances, tracklet.supported = near, supported
        self._stale = True

    def _held(self, track_ids: Sequence[int]) -> list[int]:
        """The columns of the names that tracks have, -1 for none."""
        return [self._tracks[t].tracklet.name if t in self._tracks else -1 for t in track_ids]

    def _compare(
        self,
        vectors: NDArray[np.float32],
        class_names: Sequence[str | None],
        held: Sequence[int] | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """How far vectors (N, D) are from each identity: (N, I) from its nearest entry, and from several of them.

        The second is the mean over the nearest `SUPPORT` entries (of few entries: half of them, so that two coats
        of three pictures each do not mix), for the identities that come into question. A single entry that sits
        at a wrong identity can be the nearest; it cannot make that identity the best supported one.

        Of identities that do not come into question a distance may be inf, but for the columns that are `held`.
        """
        nearest = self._source.identity_distances(
            vectors, class_names, nearest=None if held is None else self.RIVALS, held=held
        )
        if not isinstance(self._source, EntrySource) or not nearest.size:
            return nearest, nearest
        supported = nearest.copy()
        entries: dict[int, NDArray[np.float32]] = {}
        for row, vector in enumerate(vectors):
            count = min(self.RIVALS, nearest.shape[1])
            for column in np.argpartition(nearest[row], count - 1)[:count].tolist():
                if not np.isfinite(nearest[row, column]):
                    continue
                if column not in entries:
                    entries[column] = self._source.column_embeddings(column)
                few = min(self.SUPPORT, (len(entries[column]) + 1) // 2)
                if few > 1:
                    distances = np.partition(1.0 - entries[column] @ vector, few - 1)[:few]
                    # Its first is the nearest, which may count for more where the source says so.
                    more = float(distances.mean()) - float(distances.min())
                    supported[row, column] += np.float32(max(0.0, more))
        return nearest, supported

    def gallery_changed(self, before: Sequence[str], renamed: Mapping[str, str] | None = None) -> None:
        """Go on after the gallery's columns have changed: each track keeps its name, by name.

        Args:
            before: The identities as the columns were.
            renamed: Those that are called otherwise now, the old name to the new one.
        """
        renamed = renamed or {}
        for place, tracklet in enumerate(self._done):
            if tracklet.named is not None and tracklet.named.identity in renamed:
                named = replace(tracklet.named, identity=renamed[tracklet.named.identity])
                self._done[place] = replace(tracklet, named=named)
        parts = [(t, part) for t in self._tracks.values() for part in (t.tracklet, t.before) if part is not None]
        if not parts:
            return
        means = np.stack([part.mean for _, part in parts])
        columns: dict[str, list[int]] = {}
        for column, name in enumerate(self._source.identities):
            columns.setdefault(name, []).append(column)
        compared = self._compare(means, [part.class_name for _, part in parts])
        for (track, part), row, supported in zip(parts, *compared, strict=True):
            part.distances, part.supported = row, supported
            track.journal.clear()  # it speaks of columns
            track.held.clear()
            if part.name >= 0:
                name = renamed.get(before[part.name], before[part.name])
                # A name of two classes has two columns; the other class's is at infinity.
                same = [c for c in columns.get(name, ()) if np.isfinite(row[c])]
                part.name = same[0] if same else -1
        self._stale = True

    # -- who they are ----------------------------------------------------------------------------------------

    def names(
        self, frame: int, track_ids: Sequence[int], class_names: Sequence[str | None] | None = None
    ) -> list[Named | None]:
        """The names of the tracks in a frame, no name twice, and none on a box of another class than its own.

        Args:
            frame: Frame number.
            track_ids: The N tracks that are in the frame.
            class_names: N classes of their boxes, None where unknown. All unknown by default.
        """
        present = frozenset(track_ids)
        if self._stale or present != self._present:
            self._decide(sorted(present))
            self._present, self._stale = present, False
        answer: list[Named | None] = []
        for i, track_id in enumerate(track_ids):
            track = self._tracks.get(track_id)
            if track is None:
                answer.append(None)
                continue
            track.seen(frame)
            kind = class_names[i] if class_names is not None else None
            withheld = track.doubtful or are_different_classes(kind, track.tracklet.class_name)
            named = None if withheld else self._named(track.tracklet)
            answer.append(named)
            if self._explain:
                said = (self.status(track_id, kind), None if named is None else named.identity)
                if not track.answers or track.answers[-1][1:] != said:
                    track.answers.append((frame, *said))
        if frame // self.FORGET_EVERY != self._thousand:  # frames may be missing
            self._thousand = frame // self.FORGET_EVERY
            self._forget(frame)
        return answer

    def status(self, track_id: int, class_name: str | None = None) -> Status:
        """Whether a track is known, unknown or not decided yet.

        Args:
            track_id: The track.
            class_name: The class of its box, None where unknown. What is known of something of another class says
                nothing of it.
        """
        track = self._tracks.get(track_id)
        if track is None or are_different_classes(class_name, track.tracklet.class_name):
            return "undecided"
        return track.status

    def evidence(self, track_id: int) -> TrackEvidence | None:
        """All that is known of a track, to be looked at and not changed; None where it has not been seen."""
        return self._tracks.get(track_id)

    def _named(self, tracklet: Tracklet) -> Named | None:
        if tracklet.name < 0:
            return None
        return Named(self._source.identities[tracklet.name], float(tracklet.distances[tracklet.name]))

    def _decide(self, track_ids: Sequence[int]) -> None:
        known = [self._tracks[t] for t in track_ids if t in self._tracks]
        if not known:
            return
        rule = self._rule
        # An identity may have joined the gallery since a track was looked at; that look says nothing of it.
        width = max(len(track.tracklet.distances) for track in known)
        near, supported = np.full((2, len(known), width), np.inf)
        for row, track in enumerate(known):
            tracklet = track.tracklet
            near[row, : len(tracklet.distances)] = tracklet.distances
            supported[row, : len(tracklet.supported)] = tracklet.supported
            if tracklet.name >= 0 and supported[row].min() < supported[row, tracklet.name] - rule.margin / 2:
                tracklet.name = -1  # all looks together have come to say somebody else
        held = {track.tracklet.name: row for row, track in enumerate(known) if track.tracklet.name >= 0}
        costs = np.full((len(known), width), np.inf)
        for row, track in enumerate(known):
            name = track.tracklet.name
            if name >= 0:
                # The holder of a name is preferred for it. Beyond the gate, but not for long enough to drop
                # it, it keeps the name if nobody else takes it.
                costs[row, name] = min(supported[row, name] - rule.hysteresis, rule.accept)
                continue
            taken = [c for c, holder in held.items() if supported[holder, c] <= supported[row, c]]
            column = self._candidate(track.tracklet.looks, near[row], supported[row], taken)
            if column >= 0:
                costs[row, column] = min(supported[row, column], rule.accept)
            best = int(np.argmin(supported[row])) if width else -1
            if best in held and near[row, best] <= rule.accept:
                # Two who look alike, or the tracker has mixed the two up: a look at the holder tells.
                rival = known[held[best]]
                if rival.last_look < track.last_look and rival.risk == 0.0:
                    rival.risk, rival.risk_frame = 0.6, rival.last_look + 1
        for track, column in zip(known, assign_identities(costs, rule.accept), strict=True):
            track.tracklet.name = int(column)

    def _candidate(
        self, looks: int, near: NDArray[np.float64], supported: NDArray[np.float64], taken: Sequence[int]
    ) -> int:
        """The identity that a track without a name may get, or -1.

        Names of others in the frame, who fit them better, are no rivals; but a track that looks like one of
        those more than like anybody else is rather a second box of them than the next best.
        """
        if not len(near):
            return -1
        free = supported
        if taken:
            free = supported.copy()
            free[list(taken)] = np.inf
        column = int(np.argmin(free))
        best = float(free[column])
        if near[column] > self._rule.accept or not np.isfinite(best):
            return -1
        if taken and best > float(supported[list(taken)].min()) + self._rule.margin / 2:
            return -1
        second = float(np.partition(free, 1)[1]) if len(free) > 1 else float("inf")
        return column if self._rule.suffices(looks, float(near[column]), second - best) else -1

    # -- what was decided ------------------------------------------------------------------------------------

    def tracklets(self) -> list[NamedTracklet]:
        """What has been decided on each tracklet of each track, in the end; needs `keep`."""
        for track_id, track in self._tracks.items():
            self._end(track_id, track)
        self._tracks.clear()
        return self._done

    def _end(self, track_id: int, track: TrackEvidence) -> None:
        track.tracklet.last = track.last_seen
        for tracklet in (track.before, track.tracklet):
            if tracklet is not None:
                self._close(track_id, track, tracklet)

    def _close(self, track_id: int, track: TrackEvidence, tracklet: Tracklet) -> None:
        if self._keep:
            first, known_from, last = tracklet.first, tracklet.known_from, tracklet.last
            certain_from = self._begins(track, tracklet)
            runs = tuple((max(a, first), min(b, last)) for a, b in track.runs if a <= last and b >= first)
            samples = tuple(tracklet.samples or ())
            why = explain_stretch(track, tracklet, self._source.identities, self._rule) if self._explain else None
            self._done.append(
                NamedTracklet(
                    track_id,
                    first,
                    certain_from,
                    known_from,
                    last,
                    self._named(tracklet),
                    tracklet.class_name,
                    samples,
                    runs,
                    why=why,
                )
            )

    def _begins(self, track: TrackEvidence, tracklet: Tracklet) -> int:
        """The frame from which on a tracklet surely shows whom it was given the name of.

        It may have begun with looks at nobody in particular, such as a box around two people.
        """
        if tracklet.name < 0 or not tracklet.early:
            return tracklet.first
        looks = np.stack([embedding for _, embedding in tracklet.early])
        distances = self._source.identity_distances(looks, [tracklet.class_name] * len(looks))[:, tracklet.name]
        fits = np.flatnonzero(distances <= self._rule.accept + 2 * self._rule.hysteresis)
        if not fits.size:
            return tracklet.early[-1][0] + 1
        return tracklet.early[int(fits[0])][0] if fits[0] else tracklet.first

    def _forget(self, frame: int) -> None:
        old = [t for t, track in self._tracks.items() if frame - track.last_seen > self.FORGET_AFTER]
        for track_id in old:
            track = self._tracks.pop(track_id)
            self._end(track_id, track)
        for track_id in [t for t, first in self._unseen.items() if frame - first > self.FORGET_AFTER]:
            del self._unseen[track_id]
