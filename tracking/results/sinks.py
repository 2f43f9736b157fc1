"""The parts that all output formats share: frames are written one by one, into a complete file or none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gallery_db.atomic_files import atomic_path
from tracking.errors import OutputError
from tracking.results.track_frame import TrackFrame

__all__ = ["ExportedFile", "Sink", "atomic_output"]


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A file that was written.

    Attributes:
        path: The file.
        format: Its format, such as ``mot``.
        rows: Number of boxes in it; of a timeline or a report, of its rows.
        sidecars: Files that were written with it.
        notes: What the user should know about it, one sentence each.
        video: The video that its images are of; None where it has none.
    """

    path: Path
    format: str
    rows: int
    sidecars: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    video: Path | None = None


class Sink(Protocol):
    """Writes the frames of a document in one format."""

    @property
    def exported(self) -> ExportedFile:
        """The file; complete once the sink is closed."""
        ...

    def write(self, frame: TrackFrame) -> None:
        """Write the next frame."""
        ...


@contextmanager
def atomic_output(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` at the end, unless an error is raised.

    Raises:
        OutputError: The file cannot be written there.
    """
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {path.parent}.", hint="Create the folder first.")
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder.", hint="Give the name of a file.")
    try:
        with atomic_path(path) as temporary:
            yield temporary
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}.") from error
