"""``explain.jpg``: each track's best looks, whom they were held against, and the decision in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gallery_db import ContactRow, Gallery, Match, write_contact_sheet
from tracking.video.crops import video_crops

if TYPE_CHECKING:
    from gallery_db import GalleryView
    from tracking.identification.explanation import Explanation
    from tracking.identification.named_tracklets import NamedTracklet
    from tracking.trackers.trackers import BestCrop

__all__ = ["MOST_ROWS", "explanations", "in_order", "write_explanations"]

MOST_ROWS = 40
"""Rows of the picture; the doubtful come first."""
_NEIGHBOURS = 3
_HEIGHT = 192


def in_order(tracklets: Sequence[NamedTracklet]) -> list[tuple[NamedTracklet, Explanation]]:
    """The tracklets that have been explained, the doubtful first."""
    told = [(tracklet, tracklet.why) for tracklet in tracklets if tracklet.why is not None]
    return sorted(told, key=lambda pair: (pair[1].slack, pair[0].track_id, pair[0].first))


def explanations(
    tracklets: Sequence[NamedTracklet], final: Mapping[tuple[int, int], str | None]
) -> list[dict[str, Any]]:
    """What ``tracked.json`` says, the doubtful first.

    Args:
        tracklets: With their explanations.
        final: What each (by track and first frame) is called in the end.
    """
    found = []
    for tracklet, why in in_order(tracklets):
        name = final.get((tracklet.track_id, tracklet.first), why.name)
        document = {
            "track_id": str(tracklet.track_id),
            "first": tracklet.first,
            "last": tracklet.last,
            **({} if name is None else {"identity": name}),
            **why.as_json(),
        }
        if name != why.name:
            document["reason"] += _in_the_end(name)
        found.append(document)
    return found


def _in_the_end(name: str | None) -> str:
    called = "nobody" if name is None else name
    return f"; in the end {called}, by what the whole run shows"


def write_explanations(
    path: Path,
    tracklets: Sequence[NamedTracklet],
    final: Mapping[tuple[int, int], str | None],
    best_crops: Mapping[tuple[int, int], Sequence[BestCrop]],
    video: Path,
    gallery: Path | str,
    collection: str,
) -> Path | None:
    """Draw the sheet: a row a tracklet, at most `MOST_ROWS`, the doubtful first.

    Args:
        path: Where to; written beside and renamed.
        tracklets, final: See `explanations`.
        best_crops: The best looks at each tracklet.
        video: What they are of.
        gallery: Whose entries they were held against, a folder or an address; not open for writing here.
        collection: Of it.

    Returns:
        The path; None where there is nothing to be explained.

    Raises:
        GtrackError: The gallery or the video cannot be read, or the picture cannot be written.
    """
    told = in_order(tracklets)[:MOST_ROWS]
    if not told:
        return None
    pictures = _pictures(video, {key: best_crops.get(key, ()) for key in ((s.track_id, s.first) for s, _ in told)})
    rows = []
    with Gallery.open(gallery, collection=collection) as opened:
        view = opened.view()
        for tracklet, why in told:
            key = (tracklet.track_id, tracklet.first)
            name = final.get(key, why.name)
            called = name or ("undecided" if why.status == "undecided" else "unknown")
            own, *more = pictures[key] or [None]
            words = [
                f"track {tracklet.track_id}, frames {tracklet.first} to {tracklet.last}: {called}",
                *(why.reason + (_in_the_end(name) if name != why.name else "")).split("; "),
                "votes: " + (", ".join(f"{who} {count}" for who, count in why.votes.items()) or "none"),
                *(f"from frame {frame}: {name or status}" for frame, status, name in why.status_changes[-3:]),
            ]
            kept = [picture for picture in more if picture is not None]
            caption = f"#{tracklet.track_id} {called}"
            rows.append(ContactRow(own, caption, _nearest(opened, view, tracklet, why), kept, words))
        return write_contact_sheet(path, rows, gallery=opened.path)


def _nearest(opened: Gallery, view: GalleryView, tracklet: NamedTracklet, why: Explanation) -> list[Match]:
    """Of each neighbour its nearest entry, with the distance that the decision saw."""
    matches = []
    kind = None if tracklet.class_name is None else tracklet.class_name.casefold()
    for name, near, _ in why.neighbours[:_NEIGHBOURS]:
        columns = [
            column
            for column, (identity, of) in enumerate(zip(view.identities, view.identity_classes, strict=True))
            if identity == name and (kind is None or of.casefold() == kind)
        ]
        rows = np.flatnonzero(np.isin(view.row_columns, columns))
        if rows.size:
            row = int(rows[np.argmax(view.embeddings[rows] @ why.mean)])
            matches.append(Match(opened.get(view.entry_ids[row])[0], near))
    return matches


def _pictures(
    video: Path, best_crops: Mapping[tuple[int, int], Sequence[BestCrop]]
) -> dict[tuple[int, int], list[NDArray[np.uint8] | None]]:
    found: dict[tuple[int, int], list[NDArray[np.uint8] | None]] = {
        key: [None] * len(s) for key, s in best_crops.items()
    }
    wanted = [
        ((key, position), frame, box)
        for key, kept in best_crops.items()
        for position, (_, frame, box) in enumerate(kept)
    ]
    for (key, position), part in video_crops(video, wanted):
        found[key][position] = _small(part)
    return found


def _small(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2

    height, width = picture.shape[:2]
    if height <= _HEIGHT:
        return picture.copy()
    size = (max(1, round(width * _HEIGHT / height)), _HEIGHT)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
