"""Tracks as a flat table, CSV or Parquet, with one row for each box (docs/reference/tracks-formats.md)."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from gallery_db.distribution import require_package
from gallery_db.visible_text import csv_cell
from tracking.outputs.box_table import COLUMNS
from tracking.results.formatting import round_or_none
from tracking.results.sinks import ExportedFile, atomic_output
from tracking.results.timeline import Timeline
from tracking.results.track_frame import TrackFrame

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["TableSink", "csv_sink", "parquet_sink"]

_ROW_GROUP = 65_536


class _RowWriter(Protocol):
    """The method of a CSV writer that a table needs."""

    def writerow(self, row: list[Any], /) -> object: ...


class TableSink:
    """Converts frames to rows; unknown values are None."""

    def __init__(self, path: Path, kind: str, timeline: Timeline, writer: _RowWriter, *, untracked: bool) -> None:
        self._path, self._kind, self._writer = path, kind, writer
        self._times, self._untracked = timeline.times, untracked
        self._rows = 0

    @property
    def exported(self) -> ExportedFile:
        """The file that was written."""
        return ExportedFile(self._path, self._kind, self._rows)

    def write(self, frame: TrackFrame) -> None:
        """Write the next frame."""
        time = round_or_none(self._times.at(frame.frame), 6)
        rows = range(len(frame)) if self._untracked else frame.tracked
        boxes, scores, distances = frame.boxes.tolist(), frame.scores.tolist(), frame.distances.tolist()
        class_ids, det_inds = frame.class_ids.tolist(), frame.det_inds.tolist()
        for row in rows:
            self._writer.writerow(
                [
                    frame.frame,
                    time,
                    frame.track_ids[row],
                    frame.gallery_ids[row],
                    _or_none(distances[row]),
                    *boxes[row],
                    _or_none(scores[row]),
                    class_ids[row],
                    frame.class_names[row],
                    det_inds[row],
                ]
            )
        self._rows += len(rows)


@contextmanager
def csv_sink(path: Path, timeline: Timeline, *, untracked: bool = False) -> Iterator[TableSink]:
    """Open a sink for CSV (UTF-8, with a header line; unknown values are empty).

    A text that a spreadsheet would take for a formula has an apostrophe before it.

    Args:
        path: The file to write.
        timeline: The timeline of the same document.
        untracked: Also write the detections without a track.
    """
    with atomic_output(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        yield TableSink(path, "csv", timeline, _SafeCells(writer), untracked=untracked)


@contextmanager
def parquet_sink(path: Path, timeline: Timeline, *, untracked: bool = False) -> Iterator[TableSink]:
    """Open a sink for Parquet; the schema's metadata has the run's header, as JSON, under ``gtrack``.

    Args:
        path: The file to write.
        timeline: The timeline of the same document.
        untracked: Also write the detections without a track.
    """
    require_package("pyarrow", "parquet", "A Parquet file")
    import pyarrow.parquet as pq

    schema = _schema(timeline)
    with atomic_output(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        groups = _RowGroups(writer, schema)
        yield TableSink(path, "parquet", timeline, groups, untracked=untracked)
        groups.flush()


class _SafeCells:
    """Writes rows of CSV in which no spreadsheet takes a text for a formula."""

    def __init__(self, writer: _RowWriter) -> None:
        self._writer = writer

    def writerow(self, row: list[Any], /) -> None:
        self._writer.writerow([csv_cell(value) if isinstance(value, str) else value for value in row])


class _RowGroups:
    """Collects rows, and writes them in row groups."""

    def __init__(self, writer: Any, schema: pa.Schema) -> None:
        self._writer, self._schema = writer, schema
        self._columns: list[list[Any]] = [[] for _ in COLUMNS]

    def writerow(self, row: list[Any], /) -> None:
        for column, value in zip(self._columns, row, strict=True):
            column.append(value)
        if len(self._columns[0]) >= _ROW_GROUP:
            self.flush()

    def flush(self) -> None:
        import pyarrow as pa

        if self._columns[0]:
            arrays = [pa.array(c, field.type) for c, field in zip(self._columns, self._schema, strict=True)]
            self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
            self._columns = [[] for _ in COLUMNS]


def _schema(timeline: Timeline) -> pa.Schema:
    import pyarrow as pa

    types = {"frame": pa.int64(), "class_id": pa.int64(), "det_ind": pa.int64()}
    types |= {name: pa.string() for name in ("track_id", "gallery_id", "class_name")}
    never_null = {"frame", "x1", "y1", "x2", "y2", "class_id", "det_ind"}
    metadata = {"format": "gtrack-tracks", "version": 1, **timeline.header}
    return pa.schema(
        [pa.field(name, types.get(name, pa.float64()), nullable=name not in never_null) for name in COLUMNS],
        metadata={"gtrack": json.dumps(metadata, ensure_ascii=False)},
    )


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
