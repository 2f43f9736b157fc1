"""The camera that an entry was seen by."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gallery_db.entry import Entry
from gallery_db.media.market_names import parse_market_name

if TYPE_CHECKING:
    from gallery_db.store.intact_entries import ViewRows

__all__ = ["camera_of", "cameras_of"]

_ENROLLED = "source_id"


def camera_of(entry: Entry) -> str | None:
    """Return the camera of an entry: that of its enrolment, or that in a file name of the Market-1501 style."""
    return _camera(entry.extra.get(_ENROLLED), entry.origin, entry.source)


def cameras_of(rows: ViewRows) -> list[str | None]:
    """Return the camera of each row, as `camera_of` does, without making entries of them."""
    found = []
    for origin, source, extra in zip(rows.origins, rows.sources, rows.extras, strict=True):
        enrolled = json.loads(extra).get(_ENROLLED) if _ENROLLED in extra else None
        found.append(_camera(enrolled, origin, source))
    return found


def _camera(enrolled: Any, origin: str, source: str | None) -> str | None:
    if isinstance(enrolled, str) and enrolled:
        return enrolled
    named = parse_market_name(source) if origin == "image" and source else None
    return f"c{named.camera}" if named else None
