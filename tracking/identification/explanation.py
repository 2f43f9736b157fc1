"""Why a track has its name, or none: in figures and in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.identification.track_evidence import DecisionRule, ObservationRecord, Status, TrackEvidence, Tracklet

__all__ = ["Explanation", "explain"]

MOST = 5
"""Neighbours that are told."""


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """What the decision on a tracklet of a track rests on.

    Attributes:
        status, name: What was decided, as it ran.
        reason: In words.
        looks: How many the evidence is of.
        neighbours: The nearest identities: (name, distance of the nearest entry, mean distance of several).
        votes: To whom each of the last looks was nearest, counted.
        journal: The last looks, with the name of the nearest, or None.
        answers: The last changes of what it was called: (frame, status, name or None).
        slack: How far the figures were from another decision; negative where nothing was decided.
        mean: (D,) the evidence.
    """

    status: Status
    name: str | None
    reason: str
    looks: int
    neighbours: tuple[tuple[str, float, float], ...]
    votes: dict[str, int]
    journal: tuple[tuple[ObservationRecord, str | None], ...]
    answers: tuple[tuple[int, Status, str | None], ...]
    slack: float
    mean: NDArray[np.float32]

    def as_json(self) -> dict[str, Any]:
        """What ``tracked.json`` says of it."""
        return {
            "status": self.status,
            "reason": self.reason,
            "looks": self.looks,
            "neighbours": [
                {"identity": name, "distance": round(near, 4), "supported": round(several, 4)}
                for name, near, several in self.neighbours
            ],
            "votes": self.votes,
            "journal": [
                {
                    "frame": look.frame,
                    "quality": round(look.quality, 3),
                    "verdict": look.verdict,
                    **({} if name is None else {"nearest": name, "distance": round(look.distance, 4)}),
                }
                for look, name in self.journal
            ],
            "answers": [
                {"frame": frame, "status": status, **({} if name is None else {"identity": name})}
                for frame, status, name in self.answers
            ],
        }


def explain(track: TrackEvidence, tracklet: Tracklet, identities: Sequence[str], rule: DecisionRule) -> Explanation:
    """Say what the decision on a tracklet rests on.

    Args:
        track: The track.
        tracklet: One of its tracklets, as it is now.
        identities: The names of the columns.
        rule: The limits.
    """
    order = [int(c) for c in np.argsort(tracklet.supported, kind="stable") if np.isfinite(tracklet.distances[c])][:MOST]
    neighbours = tuple((identities[c], float(tracklet.distances[c]), float(tracklet.supported[c])) for c in order)
    last = tracklet.last if tracklet.last >= 0 else track.last_seen
    journal = tuple(
        (look, identities[look.nearest] if 0 <= look.nearest < len(identities) else None)
        for look in track.journal
        if tracklet.first <= look.frame <= last
    )
    votes = Counter(name for _, name in journal if name is not None)
    name = identities[tracklet.name] if tracklet.name >= 0 else None
    far = not neighbours or min(near for _, near, _ in neighbours) > rule.reject
    status: Status = (
        "known" if name is not None else "unknown" if far and tracklet.looks >= TrackEvidence.ENOUGH else "undecided"
    )
    reason, slack = _reason(name, neighbours, tracklet.looks, rule)
    answers = tuple(answer for answer in track.answers if tracklet.first <= answer[0] <= last)
    ranked = dict(sorted(votes.items(), key=lambda item: (-item[1], item[0])))
    return Explanation(status, name, reason, tracklet.looks, neighbours, ranked, journal, answers, slack, tracklet.mean)


def _reason(
    name: str | None, neighbours: Sequence[tuple[str, float, float]], looks: int, rule: DecisionRule
) -> tuple[str, float]:
    """The decision in words, and how far the figures were from another one."""
    of_looks = "1 look" if looks == 1 else f"{looks} looks"
    if not neighbours:
        return f"the gallery knew nobody of its class; {of_looks}", 1.0 if looks >= TrackEvidence.ENOUGH else -1.0
    (best, near, several), *others = neighbours
    margin = others[0][2] - several if others else float("inf")
    if name is not None:
        own = next(((d, s) for n, d, s in neighbours if n == name), None)
        if own is None:
            return f"named {name} before, and nothing has spoken against it for long enough", 0.0
        rivals = [(s, n) for n, _, s in neighbours if n != name]
        words = f"{name} at {own[0]:.2f} (accepted up to {rule.accept:.2f}), from {of_looks}"
        if not rivals:
            return f"{words}; nobody else came into question", rule.accept - own[0]
        second, rival = min(rivals)
        words += f"; {rival} {second - own[1]:.2f} further" if second >= own[1] else f"; though {rival} is nearer now"
        return words, min(rule.accept - own[0], second - own[1])
    if near > rule.reject:
        words = f"nobody within {rule.reject:.2f}: {best} is nearest, at {near:.2f}; {of_looks}"
        if looks < TrackEvidence.ENOUGH:
            return f"{words} of the {TrackEvidence.ENOUGH} that it takes to call somebody unknown", -0.5
        return words, near - rule.reject
    if near > rule.accept:
        return f"{best} at {near:.2f}: beyond {rule.accept:.2f}, and not beyond {rule.reject:.2f}; {of_looks}", -1.0
    if margin < rule.margin / max(looks, 1):
        return f"{best} and {others[0][0]} fit alike: {several:.2f} and {others[0][2]:.2f}; {of_looks}", -1.0
    if not rule.suffices(looks, near, margin):
        return f"{best} at {near:.2f}; {of_looks}, which is enough only up to {rule.sure:.2f}", -1.0
    return f"{best} at {near:.2f} would do, but the name was another track's; {of_looks}", -1.0
