"""One-to-one assignment of identities: no name twice in a frame."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tracking.identification.decision_rule import DecisionRule
from tracking.identification.gallery_comparison import IdentitySource
from tracking.identification.named_tracklets import Named
from tracking.identification.neighbours import Neighbour
from tracking.identification.track_evidence import TrackEvidence, Tracklet

__all__ = ["assign_identities", "assign_tracks", "name_detections"]

_CONFUSION_RISK = 0.6
"""Swap risk of a track whose identity fits a second track, too: high enough for an observation soon."""


def assign_identities(distances: NDArray[np.floating], threshold: float) -> NDArray[np.int64]:
    """Assign rows to identities, one to one.

    To leave a row unnamed costs as much as a match at the threshold. (Maximising the number of
    matches instead would push a person onto a second-best name to free the best one for another
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
    block = np.where(accepted, distances, np.inf)[np.ix_(rows, columns)]
    nearest = block.argmin(axis=1)
    alone = np.count_nonzero(block <= block.min(axis=1, keepdims=True), axis=1) == 1
    if rows.size == 1 or (alone.all() and len(np.unique(nearest)) == rows.size):
        result[rows] = columns[nearest]  # nobody competes: this is the one best assignment
        return result
    from scipy.optimize import linear_sum_assignment

    # A tiny constant makes an acceptable match at exactly the threshold better than none.
    gain = np.where(block < np.inf, block - threshold - 1e-9, 0.0)
    chosen_rows, chosen_columns = linear_sum_assignment(gain)
    taken = block[chosen_rows, chosen_columns] < np.inf
    result[rows[chosen_rows[taken]]] = columns[chosen_columns[taken]]
    return result


def name_detections(
    source: IdentitySource,
    embeddings: NDArray[np.float32],
    class_names: Sequence[str | None],
    threshold: float,
    camera: str | None = None,
) -> list[Named | None]:
    """Name the detections of one frame from one embedding each, no name twice.

    Args:
        source: The gallery.
        embeddings: (N, D) float32 unit vectors, as the model returns them.
        class_names: The class of each, None where unknown.
        threshold: Largest accepted cosine distance.
        camera: The camera that they were seen by; None where unknown.
    """
    if not len(embeddings):
        return []
    rows, columns, near = source.near_identities(source.adapt(embeddings, camera), class_names, limit=threshold)
    names, positions = np.unique(columns, return_inverse=True)
    distances = np.full((len(embeddings), len(names)), np.inf)
    distances[rows, positions] = near
    chosen = assign_identities(distances, threshold)
    return [
        Named(source.identities[int(names[c])], float(distances[r, c])) if c >= 0 else None
        for r, c in enumerate(chosen.tolist())
    ]


def assign_tracks(
    tracks: Sequence[TrackEvidence], rule: DecisionRule, excluded: Sequence[Collection[int]] | None = None
) -> None:
    """Decide the names of the tracks that are in a frame together, and set their tracklets' columns.

    A track that has a name is preferred for it. A track without one competes for the identity that its evidence
    allows; see `DecisionRule.suffices` and `DecisionRule.with_observation`. Each track competes for one identity at
    most, and the one that fits it best gets it; of equal ones the first.

    Args:
        tracks: The tracks.
        rule: The limits of the decision.
        excluded: For each track the columns of the identities that it cannot be, as another camera sees them; None for
            none.
    """
    excluded = excluded or [()] * len(tracks)
    for track, impossible in zip(tracks, excluded, strict=True):
        tracklet = track.tracklet
        if tracklet.column >= 0:
            held = tracklet.near.of(tracklet.column).supported
            # All observations together may now point to another identity.
            if tracklet.column in impossible or tracklet.near.best.supported < held - rule.margin / 2:
                tracklet.column = -1
    holders = {track.tracklet.column: track for track in tracks if track.tracklet.column >= 0}
    best: dict[int, tuple[float, int]] = {}
    for row, track in enumerate(tracks):
        tracklet = track.tracklet
        column = tracklet.column
        if column >= 0:
            # The holder of a name is preferred for it. Beyond the accepted distance, but not for long enough to
            # lose it, it keeps the name if no other track takes it.
            cost = tracklet.near.of(column).supported - rule.hysteresis
        else:
            column = _candidate(tracklet, holders, rule, excluded[row])
            cost = tracklet.near.of(column).supported
            _note_rival(track, holders, rule)
        if column >= 0:
            best[column] = min(best.get(column, (np.inf, row)), (min(cost, rule.accept), row))
    for track in tracks:
        track.tracklet.column = -1
    for column, (_, row) in best.items():
        tracks[row].tracklet.column = column


def _note_rival(track: TrackEvidence, holders: Mapping[int, TrackEvidence], rule: DecisionRule) -> None:
    """Let the track that has the name of another one's best identity be observed soon.

    Two people look alike, or the tracker has mixed them up: an observation of the holder will show which.
    """
    best = track.tracklet.near.best
    rival = holders.get(best.column)
    if rival is None or best.distance > rule.accept:
        return
    if rival.last_observed < track.last_observed and rival.swap_risk == 0.0:
        rival.swap_risk, rival.swap_risk_frame = _CONFUSION_RISK, rival.last_observed + 1


def _candidate(
    tracklet: Tracklet, holders: Mapping[int, TrackEvidence], rule: DecisionRule, excluded: Collection[int]
) -> int:
    """Return the column of the identity that a tracklet without a name may get, or -1.

    Names of other tracks in the frame that fit those tracks better are no rivals, nor are excluded ones. But a track
    that fits one of those names best of all is more likely a second box of that person, or a stranger, than the next
    best identity.
    """
    free: list[Neighbour] = []
    least_taken = float("inf")
    for one in tracklet.near:
        holder = holders.get(one.column)
        if one.column in excluded or (
            holder is not None and holder.tracklet.near.of(one.column).supported <= one.supported
        ):
            least_taken = min(least_taken, one.supported)
        else:
            free.append(one)
    if not free or free[0].supported > least_taken + rule.margin / 2:
        return -1
    best = free[0]
    distance = best.distance
    if rule.accept < distance <= rule.with_observation:
        distance = tracklet.nearest_observations.get(best.column, distance)
    second = free[1].supported if len(free) > 1 else float("inf")
    return best.column if rule.suffices(tracklet.num_observations, distance, second - best.supported) else -1
