"""The tracked boxes of a run as a table (docs/reference/tracks-formats.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gallery_db.distribution import require_package
from tracking.frame_times import FrameTimes

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "box_table"]

COLUMNS = (
    "frame",
    "time_s",
    "track_id",
    "gallery_id",
    "gallery_distance",
    "x1",
    "y1",
    "x2",
    "y2",
    "score",
    "class_id",
    "class_name",
    "det_ind",
)
"""The columns of the table, and of tracks as CSV and Parquet."""


def box_table(document: Mapping[str, Any], times: FrameTimes, *, untracked: bool) -> pd.DataFrame:
    """Return the boxes of a track-v1 document of gtrack as a table with `COLUMNS`.

    Args:
        document: The document.
        times: Times of its frames.
        untracked: Also the detections without a track.

    Raises:
        MissingPackageError: pandas is not installed.
    """
    require_package("pandas", "pandas", "A table of a result")
    import pandas as pd

    rows = [
        (
            frame["frame"],
            None if (time := times.at(frame["frame"])) is None else round(time, 6),
            one.get("track_id"),
            one.get("gallery_id"),
            one.get("gallery_distance"),
            *one["bbox"],
            one.get("score"),
            one.get("class_id", -1),
            one.get("class_name"),
            one.get("det_ind", number),
        )
        for frame in document["frames"]
        for number, one in enumerate(frame["detections"])
        if untracked or "track_id" in one
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    whole = dict.fromkeys(("frame", "class_id", "det_ind"), "int64")
    numbers = dict.fromkeys(("time_s", "gallery_distance", "x1", "y1", "x2", "y2", "score"), "float64")
    return table.astype({**whole, **numbers})
