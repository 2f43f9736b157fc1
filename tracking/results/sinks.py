"""What every format of tracks has in common: frames go in one by one, a whole file comes out, or none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gallery_db import atomic_path
from tracking.errors import OutputError
from tracking.results.track_frame import TrackFrame

__all__ = ["Exported", "Sink", "whole_file"]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        path: The file.
        format: Its format, such as ``mot``.
        rows: Boxes in it; of a timeline or a report, its lines.
        beside: Files that belong to it.
        notes: What the user should know of it, one sentence each.
    """

    path: Path
    format: str
    rows: int
    beside: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


class Sink(Protocol):
    """Takes the frames of a document in their order."""

    @property
    def exported(self) -> Exported:
        """What was written; complete once the sink is closed."""
        ...

    def write(self, frame: TrackFrame) -> None:
        """Take one frame."""
        ...


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """`atomic_path`, with the errors of writing in gtrack's own words.

    Raises:
        OutputError: The file cannot be written there.
    """
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {path.parent}.", hint="Make it first.")
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder.", hint="Give the name of a file.")
    try:
        with atomic_path(path) as beside:
            yield beside
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}.") from error
