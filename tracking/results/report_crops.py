"""The crops of a report: which of them each row and issue asks for, and how a limited number is shared."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tracking.frame_times import FrameTimes
from tracking.results.best_crops import BestCrops, CropCandidate, group_by_time
from tracking.results.crop_images import CropImage
from tracking.results.formatting import format_time
from tracking.results.issues import Issue
from tracking.results.sightings import Kind, TimelineRow
from tracking.results.timeline import Timeline

__all__ = ["CropRequest", "embed_crops", "request_for_issue", "request_for_row", "share_crops"]

_MAX_CROPS: dict[Kind, int] = {"known": 8, "unknown": 8, "unnamed": 4}


@dataclass(slots=True)
class CropRequest:
    """The crops that a part of the report asks for.

    Attributes:
        candidates: (title, crops) of each subject that is to be seen.
        limit: Number of crops at most.
        granted: Number of crops that it gets; set by `share_crops`.
        groups: (title, crops) of each crop that it gets; the sharpest of a group is shown. Set by `share_crops`.
    """

    candidates: Sequence[tuple[str, Sequence[CropCandidate]]]
    limit: int
    granted: int = 0
    groups: list[tuple[str, list[CropCandidate]]] = field(default_factory=list)


def request_for_row(row: TimelineRow, timeline: Timeline, crops: BestCrops) -> CropRequest:
    """Ask for crops of a row's whole time."""
    tracks: Sequence[str | None] = row.track_ids
    if row.identity is None or not timeline.has_tracks:
        tracks = row.track_ids or (None,)
    candidates = [candidate for track in tracks for candidate in crops.of(track, row.identity)]
    return CropRequest([(row.label, candidates)], _MAX_CROPS[row.kind])


def request_for_issue(issue: Issue, timeline: Timeline, crops: BestCrops) -> CropRequest:
    """Ask for crops to compare: both sides of an issue near its frame, and the identity in other tracks."""
    side = f"{issue.identity}, track {issue.track_id}" if issue.track_id is not None else issue.identity
    sides = [(side, crops.of(issue.track_id, issue.identity))]
    if issue.other_identity is not None:
        other = f"{issue.other_identity}, track {issue.track_id}"
        sides.insert(0, (other, crops.of(issue.track_id, issue.other_identity)))
    if issue.other_track is not None:
        other = f"{issue.identity}, track {issue.other_track}"
        sides.insert(0, (other, crops.of(issue.other_track, issue.identity)))
    chosen = [(title, sorted(part, key=lambda crop: abs(crop.frame - issue.frame))[:3]) for title, part in sides]
    row = next((row for row in timeline.rows if row.identity == issue.identity), None)
    if row is not None:
        involved = {issue.track_id, issue.other_track}
        others = [crop for track in row.track_ids if track not in involved for crop in crops.of(track, issue.identity)]
        best = sorted(others, key=lambda crop: -crop.quality)[:2]
        if best:
            chosen.append((f"{issue.identity}, other tracks", best))
    return CropRequest(chosen, len([part for _, part in chosen if part]))


def share_crops(requests: Sequence[CropRequest], budget: int) -> None:
    """Grant each request a first crop, then each a second one, and so on, until the budget is spent."""
    limits = {id(request): min(request.limit, sum(len(c) for _, c in request.candidates)) for request in requests}
    while budget > 0:
        open_requests = [request for request in requests if request.granted < limits[id(request)]][:budget]
        if not open_requests:
            break
        for request in open_requests:
            request.granted += 1
        budget -= len(open_requests)
    for request in requests:
        if len(request.candidates) == 1:
            title, candidates = request.candidates[0]
            request.groups = [(title, group) for group in group_by_time(candidates, request.granted)]
        else:
            # One group for each side.
            sides = [(title, list(candidates)) for title, candidates in request.candidates if candidates]
            request.groups = sides[: request.granted]


def embed_crops(
    request: CropRequest, images: Mapping[CropCandidate, CropImage], times: FrameTimes, *, captions: bool
) -> list[dict[str, Any]]:
    """Return the images of a request for the template: the sharpest one of each group.

    Args:
        request: After `share_crops`.
        images: The images that could be cut.
        times: Times of the frames.
        captions: Whether each image has its title as a caption.
    """
    shown = []
    for title, group in request.groups:
        cut = [candidate for candidate in group if candidate in images]
        if cut:
            candidate = max(cut, key=lambda one: images[one].quality)
            image = images[candidate]
            time = format_time(candidate.frame, times)
            shown.append(
                {
                    "src": "data:image/jpeg;base64," + base64.b64encode(image.jpeg).decode("ascii"),
                    "width": image.width,
                    "height": image.height,
                    "alt": f"{title} at {time}",
                    "caption": title if captions else None,
                    "time": time,
                    "frame": candidate.frame,
                }
            )
    return shown
