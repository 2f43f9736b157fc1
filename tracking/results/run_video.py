"""Find the video that a run read, from what its results say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tracking.errors import VideoError
from tracking.results.crop_images import open_video
from tracking.results.header import run_video
from tracking.results.reading import TrackReader

__all__ = ["find_run_video"]

_FOLDERS_ABOVE = 3
"""Folders above that of the results from which a path is tried, too: a run in a folder writes out/clip/tracked.json."""


def find_run_video(reader: TrackReader) -> tuple[Path | None, str]:
    """Find the video of a run: where the header says, else beside the results. Nothing but a file is opened.

    A relative path is taken from the current folder, from that of the results, and from the folders above it.

    Args:
        reader: The results.

    Returns:
        The video, and why there is none: a sentence, empty where there is one.
    """
    named = run_video(reader.header)
    if named is None:
        return None, f"{reader.name} does not name its video."
    if "blur" in reader.config:
        return None, "the run blurred people, and its video shows them."
    reason = ""
    for path in _candidates(named, reader.path):
        try:
            if not path.is_file():
                continue
            open_video(path, reader.size, reader.name).close()
        except OSError:  # a name that is too long for a file
            continue
        except VideoError as error:
            reason = reason or error.message
        else:
            return path, ""
    if not reason:
        beside = "" if reader.path is None else f", nor beside {reader.path}"
        reason = f"its video was not found: {named} is no file here{beside}."
    return None, reason


def _candidates(named: str, results: Path | None) -> Iterator[Path]:
    yield Path(named)
    if results is None:
        return
    folder = results.resolve().parent
    if not Path(named).is_absolute():
        for base in (folder, *list(folder.parents)[:_FOLDERS_ABOVE]):
            yield base / named
    # Also where the results came from another system, with paths of that system.
    yield folder / named.replace("\\", "/").rsplit("/", 1)[-1]
