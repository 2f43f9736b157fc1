"""Who is who: from embeddings and a gallery to one identity a track, at most once in a frame.

This room knows vectors, track ids and frame numbers; it knows nothing of video, BoxMOT or Chroma.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["IdentitySource", "Named", "TrackIdentities", "assign_identities", "name_detections"]


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
        held: Sequence[int] | None = None,
    ) -> NDArray[np.float32]:
        """(P, I) cosine distance of each probe to each identity's nearest entry; inf across classes.

        With a limit, one beyond it is exact or inf, but for the columns that are `held` (P, -1 for none).
        """
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


@dataclass(slots=True, eq=False)
class _Track:
    """Evidence on one track: a fading sum of its looks, those held back, and what follows from them."""

    total: NDArray[np.float32]
    doubt: NDArray[np.float32]
    distances: NDArray[np.float32]
    class_name: str | None
    next_look: int
    last_seen: int
    name: int = -1
    contrary: int = 0


class TrackIdentities:
    """Keeps one name a track, from evidence gathered over the track's life.

    A track is looked at when it first appears and then every `every` frames. Its looks are averaged
    (weighted by detection score, fading by `MEMORY` a look) and the mean is matched, so that one bad
    crop does not rename anybody. A look that speaks against the name (`HYSTERESIS`) is held back; after
    `PATIENCE` such looks in a row the tracker has gone over to somebody else, and the evidence starts
    anew from them. A name is also lost when another track in the same frame fits it better: no name
    stands twice in a frame, also when a lost track returns between looks.

    Args:
        source: The gallery.
        threshold: Largest accepted cosine distance of the mean.
        every: Frames between two looks at a track.
    """

    HYSTERESIS = 0.05
    PATIENCE = 2
    MEMORY = 0.8
    FORGET_AFTER = 10_000
    """Frames after which an unseen track's evidence is dropped: longer than any tracker's buffer."""

    def __init__(self, source: IdentitySource, *, threshold: float, every: int) -> None:
        self._source = source
        self._threshold = threshold
        self._every = max(1, every)
        self._tracks: dict[int, _Track] = {}
        self._present: frozenset[int] = frozenset()
        self._stale = True

    def due(self, frame: int, track_ids: Sequence[int]) -> list[int]:
        """Positions in `track_ids` of the tracks that should be looked at in this frame."""
        tracks = self._tracks
        return [i for i, t in enumerate(track_ids) if t not in tracks or frame >= tracks[t].next_look]

    def observe(
        self,
        frame: int,
        track_ids: Sequence[int],
        embeddings: NDArray[np.float32],
        weights: Sequence[float],
        class_names: Sequence[str | None],
    ) -> None:
        """Add one look at each of some tracks.

        Args:
            frame: Frame number.
            track_ids: N tracks.
            embeddings: (N, D) float32 unit vectors.
            weights: N weights > 0, such as detection scores.
            class_names: N classes, None where unknown.
        """
        if not len(track_ids):
            return
        held = [self._tracks[track_id].name if track_id in self._tracks else -1 for track_id in track_ids]
        # Beyond the threshold nobody gets a name, and only the distance to one's own can cost it.
        looks = self._source.identity_distances(embeddings, class_names, limit=self._threshold, held=held)
        means = np.empty_like(embeddings)
        for i, track_id in enumerate(track_ids):
            weighted = embeddings[i] * np.float32(max(weights[i], 1e-3))
            track = self._tracks.get(track_id)
            if track is None:
                track = _Track(np.zeros_like(weighted), np.zeros_like(weighted), looks[i], class_names[i], 0, frame)
                self._tracks[track_id] = track
            self._take(track, weighted, looks[i])
            track.next_look = frame + self._every
            norm = float(np.linalg.norm(track.total))
            means[i] = track.total / norm if norm > 0 else embeddings[i]
        distances = self._source.identity_distances(means, class_names, limit=self._threshold, held=held)
        for track_id, row in zip(track_ids, distances, strict=True):
            self._tracks[track_id].distances = row
        self._stale = True

    def _take(self, track: _Track, weighted: NDArray[np.float32], look: NDArray[np.float32]) -> None:
        """Add a look to a track's evidence, or hold it back if it speaks against the track's name."""
        if track.name >= 0 and self._speaks_against(look, track.name):
            # Somebody passed in front, or the tracker went over to another person: which of them only
            # the next look can tell, so that this one counts for neither yet.
            track.contrary += 1
            track.doubt = track.doubt + weighted
            if track.contrary >= self.PATIENCE:
                track.total, track.doubt = track.doubt, np.zeros_like(weighted)
            return
        track.contrary = 0
        track.doubt = np.zeros_like(weighted)
        track.total = track.total * np.float32(self.MEMORY) + weighted

    def _speaks_against(self, look: NDArray[np.float32], name: int) -> bool:
        own = float(look[name])
        return own > self._threshold + self.HYSTERESIS or float(look.min()) < own - self.HYSTERESIS

    def gallery_changed(self, before: Sequence[str]) -> None:
        """Go on after the gallery's columns have changed: each track keeps its name, by name.

        Args:
            before: The identities as the columns were.
        """
        tracks = list(self._tracks.values())
        if not tracks:
            return
        means = np.stack([track.total / np.linalg.norm(track.total) for track in tracks]).astype(np.float32)
        after = list(self._source.identities)
        distances = self._source.identity_distances(means, [track.class_name for track in tracks])
        for track, row in zip(tracks, distances, strict=True):
            track.distances = row
            if track.name >= 0:
                # A name of two classes has two columns; the other class's is at infinity.
                same = [c for c, name in enumerate(after) if name == before[track.name] and np.isfinite(row[c])]
                track.name = same[0] if same else -1
                track.contrary = 0
        self._stale = True

    def names(self, frame: int, track_ids: Sequence[int]) -> list[Named | None]:
        """The names of the tracks in a frame, no name twice.

        Args:
            frame: Frame number.
            track_ids: The tracks that are in the frame.
        """
        present = frozenset(track_ids)
        if self._stale or present != self._present:
            self._decide(sorted(present))
            self._present, self._stale = present, False
        answer: list[Named | None] = []
        for track_id in track_ids:
            track = self._tracks.get(track_id)
            if track is None:
                answer.append(None)
                continue
            track.last_seen = frame
            answer.append(
                Named(self._source.identities[track.name], float(track.distances[track.name]))
                if track.name >= 0
                else None
            )
        if frame % 1000 == 0:
            self._forget(frame)
        return answer

    def _decide(self, track_ids: Sequence[int]) -> None:
        known = [self._tracks[t] for t in track_ids if t in self._tracks]
        if not known:
            return
        # An identity may have joined the gallery since a track was looked at; that look says nothing of it.
        costs = np.full((len(known), max(len(track.distances) for track in known)), np.inf)
        for row, track in enumerate(known):
            costs[row, : len(track.distances)] = track.distances
        for row, track in enumerate(known):
            if track.name < 0:
                continue
            if track.contrary >= self.PATIENCE:
                track.name, track.contrary = -1, 0
                continue
            # The holder of a name is preferred for it, and holds to it rather than to a new one. Beyond
            # the gate, but not for long enough to drop it, it keeps the name if nobody else takes it.
            held = min(costs[row, track.name] - self.HYSTERESIS, self._threshold)
            costs[row] = np.inf
            costs[row, track.name] = held
        for track, column in zip(known, assign_identities(costs, self._threshold), strict=True):
            track.name = int(column)

    def _forget(self, frame: int) -> None:
        old = [t for t, track in self._tracks.items() if frame - track.last_seen > self.FORGET_AFTER]
        for track_id in old:
            del self._tracks[track_id]
