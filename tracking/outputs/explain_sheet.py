"""``explain.jpg``: the best crops of each track, the entries they were compared with, and the decision in words."""

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
    from tracking.enrolment.camera_tracks import BestCrop
    from tracking.identification.explanation import Explanation
    from tracking.identification.named_tracklets import NamedTracklet

__all__ = ["MOST_ROWS", "explanation_documents", "most_doubtful_first", "write_explain_sheet"]

MOST_ROWS = 40
"""Rows of the picture at most; the most doubtful come first."""
_NEIGHBOURS = 3
_HEIGHT = 192


def most_doubtful_first(tracklets: Sequence[NamedTracklet]) -> list[tuple[NamedTracklet, Explanation]]:
    """Return the tracklets that have an explanation, the most doubtful first."""
    explained = [(tracklet, tracklet.why) for tracklet in tracklets if tracklet.why is not None]
    return sorted(explained, key=lambda pair: (pair[1].slack, pair[0].track_id, pair[0].first))


def explanation_documents(
    tracklets: Sequence[NamedTracklet], final: Mapping[tuple[int, int], str | None]
) -> list[dict[str, Any]]:
    """Return the ``explanations`` of ``tracked.json``, the most doubtful first.

    Args:
        tracklets: The tracklets with their explanations.
        final: The name of each, by track and first frame, after the last frame of the run; None for no name.
    """
    documents = []
    for tracklet, why in most_doubtful_first(tracklets):
        name = final.get((tracklet.track_id, tracklet.first), why.name)
        document = {
            "track_id": str(tracklet.track_id),
            "first": tracklet.first,
            "last": tracklet.last,
            **({} if name is None else {"identity": name}),
            **why.as_json(),
        }
        if name != why.name:
            document["reason"] += _final_words(name)
        documents.append(document)
    return documents


def _final_words(name: str | None) -> str:
    return f"; after the whole run {'without a name' if name is None else f'named {name}'}"


def write_explain_sheet(
    path: Path,
    tracklets: Sequence[NamedTracklet],
    final: Mapping[tuple[int, int], str | None],
    best_crops: Mapping[tuple[int, int], Sequence[BestCrop]],
    video: Path,
    gallery: Path | str,
    collection: str,
) -> Path | None:
    """Draw the sheet: one row for each tracklet, at most `MOST_ROWS`, the most doubtful first.

    Args:
        path: The file to write; written beside it and renamed.
        tracklets, final: See `explanation_documents`.
        best_crops: Where the best crops of each tracklet are, by track and first frame.
        video: The video that they are cut from.
        gallery: The gallery that they were compared with, a folder or an address; not open for writing here.
        collection: The gallery's collection.

    Returns:
        The path; None where there is nothing to explain.

    Raises:
        GtrackError: The gallery or the video cannot be read, or the picture cannot be written.
    """
    explained = most_doubtful_first(tracklets)[:MOST_ROWS]
    if not explained:
        return None
    keys = [(tracklet.track_id, tracklet.first) for tracklet, _ in explained]
    pictures = _cut_crops(video, {key: best_crops.get(key, ()) for key in keys})
    rows = []
    with Gallery.open(gallery, collection=collection) as opened:
        view = opened.view()
        for tracklet, why in explained:
            key = (tracklet.track_id, tracklet.first)
            name = final.get(key, why.name)
            label = name or ("undecided" if why.status == "undecided" else "unknown")
            best, *others = pictures[key] or [None]
            lines = [
                f"track {tracklet.track_id}, frames {tracklet.first} to {tracklet.last}: {label}",
                *(why.reason + (_final_words(name) if name != why.name else "")).split("; "),
                "votes: " + (", ".join(f"{identity} {count}" for identity, count in why.votes.items()) or "none"),
                *(f"from frame {frame}: {name or status}" for frame, status, name in why.status_changes[-3:]),
            ]
            kept = [picture for picture in others if picture is not None]
            caption = f"#{tracklet.track_id} {label}"
            rows.append(ContactRow(best, caption, _nearest(opened, view, tracklet, why), kept, lines))
        return write_contact_sheet(path, rows, gallery=opened.path)


def _nearest(opened: Gallery, view: GalleryView, tracklet: NamedTracklet, why: Explanation) -> list[Match]:
    """Return the nearest entry of each neighbour, with the distance that the decision used."""
    matches = []
    class_name = None if tracklet.class_name is None else tracklet.class_name.casefold()
    for name, near, _ in why.neighbours[:_NEIGHBOURS]:
        columns = [
            column
            for column, (identity, of) in enumerate(zip(view.identities, view.identity_classes, strict=True))
            if identity == name and (class_name is None or of.casefold() == class_name)
        ]
        rows = np.flatnonzero(np.isin(view.row_columns, columns))
        if rows.size:
            row = int(rows[np.argmax(view.embeddings[rows] @ why.mean)])
            matches.append(Match(opened.get(view.entry_ids[row])[0], near))
    return matches


def _cut_crops(
    video: Path, best_crops: Mapping[tuple[int, int], Sequence[BestCrop]]
) -> dict[tuple[int, int], list[NDArray[np.uint8] | None]]:
    """Cut the best crops out of the video, in one pass; None for a box without a visible part."""
    found: dict[tuple[int, int], list[NDArray[np.uint8] | None]] = {
        key: [None] * len(crops) for key, crops in best_crops.items()
    }
    boxes = [
        ((key, position), frame, box)
        for key, crops in best_crops.items()
        for position, (_, frame, box) in enumerate(crops)
    ]
    for (key, position), crop in video_crops(video, boxes):
        found[key][position] = _shrink(crop)
    return found


def _shrink(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2

    height, width = picture.shape[:2]
    if height <= _HEIGHT:
        return picture.copy()
    size = (max(1, round(width * _HEIGHT / height)), _HEIGHT)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
