"""Tracklets with the identities decided for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from gallery_db.embeddings import unit_mean
from tracking.identification.decision_rule import DecisionRule
from tracking.identification.explanation import Explanation, explain_decision
from tracking.identification.gallery_comparison import IdentitySource
from tracking.identification.identity_spread import IdentitySpread
from tracking.identification.track_evidence import EvidenceSample, TrackEvidence, Tracklet

__all__ = ["Named", "NamedTracklet", "TrackletArchive", "name_of_tracklet"]


@dataclass(frozen=True, slots=True)
class Named:
    """An identity with the distance it was assigned at.

    Attributes:
        identity: The name in the gallery.
        distance: Cosine distance of the evidence to that identity, in [0, 2].
    """

    identity: str
    distance: float


@dataclass(frozen=True, slots=True)
class NamedTracklet:
    """A part of a track that shows one person, with the identity decided for it.

    Attributes:
        track_id: The track.
        first, last: Its frames, both included.
        certain_from: The frame from which on it certainly shows the person it shows at its end.
        known_from: The frame in which its beginning was detected.
        named: The identity decided at its end, or None.
        class_name: Its class; None where unknown.
        samples: Its observations, merged; see `EvidenceSample`.
        runs: Runs of frames in which it was seen, (first, last), as far as they are remembered.
        spreads: Distance of all its observations from the identity of its name, in spreads of the identity; see
            `IdentitySpread`. 0 without a name.
        final: Whether `named` was decided from the whole run, so that the names given during the run no longer count.
        why: The reasons of the decision, where they were asked for.
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
    spreads: float = 0.0
    final: bool = False
    why: Explanation | None = None

    @property
    def is_sure(self) -> bool:
        """Whether the evidence is enough to write the name on other frames, and to name other tracklets by it."""
        return self.spreads <= IdentitySpread.MAX_SPREADS


def name_of_tracklet(tracklet: Tracklet, source: IdentitySource) -> Named | None:
    """Return the identity that a tracklet has now, or None."""
    if tracklet.column < 0:
        return None
    return Named(source.identities[tracklet.column], tracklet.near.of(tracklet.column).distance)


class TrackletArchive:
    """Keeps the tracklets that have ended, each with its name.

    Args:
        rule: The limits of the decision.
        explain: Keep the reasons of each decision, too.

    Attributes:
        tracklets: The tracklets, in the order in which they ended.
    """

    def __init__(self, rule: DecisionRule, *, explain: bool) -> None:
        self.tracklets: list[NamedTracklet] = []
        self._rule = rule
        self._explain = explain
        self._spread: IdentitySpread | None = None

    def add_track(self, track_id: int, track: TrackEvidence, source: IdentitySource) -> None:
        """End a track, and add its tracklets that are not here yet."""
        track.tracklet.last = track.last_seen
        for tracklet in (track.previous, track.tracklet):
            if tracklet is not None:
                self.add(track_id, track, tracklet, source)

    def add(self, track_id: int, track: TrackEvidence, tracklet: Tracklet, source: IdentitySource) -> None:
        """Add one ended tracklet of a track."""
        first, last = tracklet.first, tracklet.last
        self.tracklets.append(
            NamedTracklet(
                track_id,
                first,
                self._certain_from(tracklet, source),
                tracklet.known_from,
                last,
                name_of_tracklet(tracklet, source),
                tracklet.class_name,
                tuple(tracklet.samples or ()),
                tuple((max(a, first), min(b, last)) for a, b in track.frame_runs if a <= last and b >= first),
                self._spreads(tracklet, source),
                why=explain_decision(track, tracklet, source.identities, self._rule) if self._explain else None,
            )
        )

    def rename(self, renamed: Mapping[str, str]) -> None:
        """Change names, the old name to the new one."""
        for index, tracklet in enumerate(self.tracklets):
            if tracklet.named is not None and tracklet.named.identity in renamed:
                named = replace(tracklet.named, identity=renamed[tracklet.named.identity])
                self.tracklets[index] = replace(tracklet, named=named)

    def _spreads(self, tracklet: Tracklet, source: IdentitySource) -> float:
        """Return how far all observations of a tracklet together are from the identity of its name."""
        if tracklet.column < 0 or not tracklet.samples:
            return 0.0
        if self._spread is None or self._spread.source is not source:
            self._spread = IdentitySpread(source)
        mean = unit_mean(np.sum([sample.total for sample in tracklet.samples], axis=0), tracklet.constant)
        return self._spread.relative_distance(mean, tracklet.column, self._rule.accept)

    def _certain_from(self, tracklet: Tracklet, source: IdentitySource) -> int:
        """Return the frame from which on a tracklet certainly shows the person of its name.

        It may have begun with observations that show no single person, such as a box around two people. Those that
        follow count once two of them together would have got the name: before, they may be of either person.
        """
        if tracklet.column < 0 or not tracklet.early:
            return tracklet.first
        embeddings = np.stack([embedding for _, embedding in tracklet.early])
        later = np.concatenate([embeddings[1:], embeddings[-1:]])
        pairs = np.stack([unit_mean(total, tracklet.constant) for total in embeddings + later])
        count = len(embeddings)
        distances = source.column_distances(
            np.concatenate([embeddings, pairs]), [tracklet.column] * 2 * count, [tracklet.class_name] * 2 * count
        )
        may_fit = distances[:count] <= self._rule.accept + 2 * self._rule.hysteresis
        if may_fit[0]:
            return tracklet.first
        fits = np.flatnonzero(may_fit & (distances[count:] <= self._rule.accept))
        return tracklet.early[int(fits[0])][0] if fits.size else tracklet.early[-1][0] + 1
