"""One-to-one assignment of identities: no name twice in a frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tracking.identification.gallery_comparison import IdentitySource
from tracking.identification.named_tracklets import Named
from tracking.identification.track_evidence import DecisionRule, TrackEvidence

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
    """Name the detections of one frame from one embedding each, no name twice.

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


def assign_tracks(tracks: Sequence[TrackEvidence], rule: DecisionRule) -> None:
    """Decide the names of the tracks that are in a frame together, and set their tracklets' columns.

    A track that has a name is preferred for it. A track without one competes for the identity that its evidence
    allows; see `DecisionRule.suffices`.
    """
    if not tracks:
        return
    # Identities may have been added since a track was observed; their distances to it are unknown.
    width = max(len(track.tracklet.distances) for track in tracks)
    nearest, supported = np.full((2, len(tracks), width), np.inf)
    for row, track in enumerate(tracks):
        tracklet = track.tracklet
        nearest[row, : len(tracklet.distances)] = tracklet.distances
        supported[row, : len(tracklet.support_distances)] = tracklet.support_distances
        if tracklet.column >= 0 and supported[row].min() < supported[row, tracklet.column] - rule.margin / 2:
            tracklet.column = -1  # all observations together now point to another identity
    holders = {track.tracklet.column: row for row, track in enumerate(tracks) if track.tracklet.column >= 0}
    costs = np.full((len(tracks), width), np.inf)
    for row, track in enumerate(tracks):
        column = track.tracklet.column
        if column >= 0:
            # The holder of a name is preferred for it. Beyond the accepted distance, but not for long enough to
            # lose it, it keeps the name if no other track takes it.
            costs[row, column] = min(supported[row, column] - rule.hysteresis, rule.accept)
            continue
        taken = [c for c, holder in holders.items() if supported[holder, c] <= supported[row, c]]
        column = _candidate(track.tracklet.num_observations, nearest[row], supported[row], taken, rule)
        if column >= 0:
            costs[row, column] = min(supported[row, column], rule.accept)
        best = int(np.argmin(supported[row])) if width else -1
        if best in holders and nearest[row, best] <= rule.accept:
            # Two people look alike, or the tracker has mixed them up: an observation of the holder will show which.
            rival = tracks[holders[best]]
            if rival.last_observed < track.last_observed and rival.swap_risk == 0.0:
                rival.swap_risk, rival.swap_risk_frame = _CONFUSION_RISK, rival.last_observed + 1
    for track, assigned in zip(tracks, assign_identities(costs, rule.accept), strict=True):
        track.tracklet.column = int(assigned)


def _candidate(
    num_observations: int,
    nearest: NDArray[np.float64],
    supported: NDArray[np.float64],
    taken: Sequence[int],
    rule: DecisionRule,
) -> int:
    """Return the column of the identity that a track without a name may get, or -1.

    Names of other tracks in the frame that fit those tracks better are no rivals. But a track that fits one of those
    names best of all is more likely a second box of that person than the next best identity.
    """
    if not len(nearest):
        return -1
    free = supported
    if taken:
        free = supported.copy()
        free[list(taken)] = np.inf
    column = int(np.argmin(free))
    best = float(free[column])
    if nearest[column] > rule.accept or not np.isfinite(best):
        return -1
    if taken and best > float(supported[list(taken)].min()) + rule.margin / 2:
        return -1
    second = float(np.partition(free, 1)[1]) if len(free) > 1 else float("inf")
    return column if rule.suffices(num_observations, float(nearest[column]), second - best) else -1
