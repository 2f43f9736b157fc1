"""Reasons for the decision on a tracklet, in figures and in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.identification.decision_rule import DecisionRule
from tracking.identification.track_evidence import ObservationRecord, Status, TrackEvidence, Tracklet

__all__ = ["Explanation", "explain_decision"]

MAX_NEIGHBOURS = 5
"""Nearest identities that are listed."""


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """The reasons for the decision on a tracklet.

    Attributes:
        status, name: The decision during the run.
        reason: The decision in words.
        num_observations: Number of observations in the evidence.
        neighbours: The nearest identities: (name, distance of the nearest entry, mean distance of several entries).
        votes: How many of the last observations were nearest to each identity, the most first.
        records: The last observations, each with the name of its nearest identity, or None.
        status_changes: The last changes of status or name: (frame, status, name or None).
        slack: How far the figures were from another decision; negative where nothing was decided.
        mean: (D,) the mean of the evidence.
    """

    status: Status
    name: str | None
    reason: str
    num_observations: int
    neighbours: tuple[tuple[str, float, float], ...]
    votes: dict[str, int]
    records: tuple[tuple[ObservationRecord, str | None], ...]
    status_changes: tuple[tuple[int, Status, str | None], ...]
    slack: float
    mean: NDArray[np.float32]

    def as_json(self) -> dict[str, Any]:
        """Return the explanation as it is written to ``tracked.json``; the keys are those of track-v1."""
        return {
            "status": self.status,
            "reason": self.reason,
            "looks": self.num_observations,
            "neighbours": [
                {"identity": name, "distance": round(near, 4), "supported": round(several, 4)}
                for name, near, several in self.neighbours
            ],
            "votes": self.votes,
            "journal": [
                {
                    "frame": record.frame,
                    "quality": round(record.quality, 3),
                    "verdict": record.agreement,
                    **({} if name is None else {"nearest": name, "distance": round(record.distance, 4)}),
                }
                for record, name in self.records
            ],
            "answers": [
                {"frame": frame, "status": status, **({} if name is None else {"identity": name})}
                for frame, status, name in self.status_changes
            ],
        }


def explain_decision(
    track: TrackEvidence, tracklet: Tracklet, identities: Sequence[str], rule: DecisionRule
) -> Explanation:
    """Explain the decision on a tracklet.

    Args:
        track: The track.
        tracklet: One of its tracklets, as it is now.
        identities: The names of the columns.
        rule: The limits of the decision.
    """
    nearest = [one for one in tracklet.near if one.distance < float("inf")][:MAX_NEIGHBOURS]
    neighbours = tuple((identities[one.column], one.distance, one.supported) for one in nearest)
    last = tracklet.last if tracklet.last >= 0 else track.last_seen
    records = tuple(
        (record, identities[record.nearest] if 0 <= record.nearest < len(identities) else None)
        for record in track.records
        if tracklet.first <= record.frame <= last
    )
    votes = Counter(name for _, name in records if name is not None)
    name = identities[tracklet.column] if tracklet.column >= 0 else None
    far = not neighbours or min(near for _, near, _ in neighbours) > rule.reject
    enough = tracklet.num_observations >= TrackEvidence.MIN_UNKNOWN_OBSERVATIONS
    status: Status = "known" if name is not None else "unknown" if far and enough else "undecided"
    reason, slack = _reason_and_slack(name, neighbours, tracklet.num_observations, rule)
    return Explanation(
        status,
        name,
        reason,
        tracklet.num_observations,
        neighbours,
        dict(sorted(votes.items(), key=lambda item: (-item[1], item[0]))),
        records,
        tuple(change for change in track.status_changes if tracklet.first <= change[0] <= last),
        slack,
        tracklet.mean,
    )


def _reason_and_slack(
    name: str | None, neighbours: Sequence[tuple[str, float, float]], count: int, rule: DecisionRule
) -> tuple[str, float]:
    """Return the decision in words, and how far the figures were from another one."""
    needed = TrackEvidence.MIN_UNKNOWN_OBSERVATIONS
    observations = "1 observation" if count == 1 else f"{count} observations"
    if not neighbours:
        return f"the gallery has no identity of its class; {observations}", 1.0 if count >= needed else -1.0
    (best, near, several), *others = neighbours
    margin = others[0][2] - several if others else float("inf")
    if name is not None:
        own = next(((d, s) for n, d, s in neighbours if n == name), None)
        if own is None:
            return f"named {name} before, and too little evidence against it since", 0.0
        rivals = [(s, n) for n, _, s in neighbours if n != name]
        words = f"{name} at distance {own[0]:.2f} (accepted up to {rule.accept:.2f}), from {observations}"
        if not rivals:
            return f"{words}; no other identity is near", rule.accept - own[0]
        second, rival = min(rivals)
        words += f"; {rival} {second - own[1]:.2f} further" if second >= own[1] else f"; but {rival} is nearer now"
        return words, min(rule.accept - own[0], second - own[1])
    if near > rule.reject:
        words = f"no identity within {rule.reject:.2f}: {best} is nearest, at {near:.2f}; {observations}"
        if count < needed:
            return f"{words} of the {needed} needed to call it unknown", -0.5
        return words, near - rule.reject
    if near > rule.accept:
        between = f"between accepted ({rule.accept:.2f}) and unknown ({rule.reject:.2f})"
        return f"{best} at {near:.2f}, {between}; {observations}", -1.0
    if margin < rule.margin / max(count, 1):
        return f"{best} and {others[0][0]} fit alike: {several:.2f} and {others[0][2]:.2f}; {observations}", -1.0
    if not rule.suffices(count, near, margin):
        return f"{best} at {near:.2f}; {observations}, which is enough only up to {rule.sure:.2f}", -1.0
    return f"{best} at {near:.2f} is near enough, but another track has the name; {observations}", -1.0
