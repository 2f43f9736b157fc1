"""Pictures that come into a gallery's folder together with their entries: all of them or none, also after a kill.

They are first written to a folder of their own. The transaction that stores the entries notes the name of that folder
in the record. After it, the pictures are moved to their places; if the process is killed before that, the next one
that opens the gallery moves them.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from gallery_db.atomic_files import Part, atomic_path

__all__ = ["STAGED_KEY", "StagedPictures", "place_staged", "remove_staged"]

STAGED_KEY = "staged_pictures"
"""The fact in a record that names the folder of pictures that are still to be moved; empty for none."""

_PREFIX = ".pictures-"


class StagedPictures:
    """Pictures that wait for their entries.

    Args:
        folder: The gallery's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._root = Path(os.path.realpath(folder))
        self._part: Part | None = None
        self._name: str | None = None
        self._targets: set[Path] = set()

    def __len__(self) -> int:
        return len(self._targets)

    def __contains__(self, target: Path) -> bool:
        return target in self._targets

    def add(self, target: Path, data: bytes) -> None:
        """Write a picture that will be at `target`, in the gallery's folder.

        Raises:
            OSError: It cannot be written.
        """
        if self._part is None:
            self._part = Part(self._folder / f"{_PREFIX}{secrets.token_hex(4)}", folder=True)
        inside = self._root if self._root in target.parents else self._folder
        path = self._part.path / target.relative_to(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self._targets.add(target)

    def seal(self) -> str:
        """Give the folder the name that the record is to note under `STAGED_KEY`, and return it.

        Raises:
            OSError: It cannot be renamed.
        """
        assert self._part is not None
        self._part.finish()
        self._name = self._part.target.name
        return self._name

    def place(self) -> None:
        """Move the pictures to their places.

        Raises:
            OSError: One cannot be moved; it and those after it still wait.
        """
        if self._name is not None:
            place_staged(self._folder, self._name, through_links=True)

    def discard(self) -> None:
        """Remove the pictures that wait."""
        if self._part is not None:
            self._part.discard()
            shutil.rmtree(self._part.target, ignore_errors=True)


def place_staged(folder: Path, name: str, *, through_links: bool = False) -> None:
    """Move the pictures of a folder that a record names to their places, in place of earlier ones.

    Args:
        folder: The gallery's folder.
        name: As `StagedPictures.seal` returned it.
        through_links: Whether the folders of pictures may be links to other places. Not where the record alone says
            that something is to be moved: a record from outside must not write out of its folder.

    Raises:
        OSError: One cannot be moved; it and those after it still wait.
    """
    staged = folder / name
    if Path(name).name != name or not name.startswith(_PREFIX) or staged.is_symlink():
        return  # a record from outside could name any folder
    root = Path(os.path.realpath(folder))
    for path in sorted(_files_in(staged)):
        target = folder / path.relative_to(staged)
        if not through_links and root not in Path(os.path.realpath(target)).parents:
            raise OSError(errno.ELOOP, "a link leads out of the gallery's folder", str(target))
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with atomic_path(target) as part:  # the folder of the pictures is a link to another disk
                shutil.copyfile(path, part)
    shutil.rmtree(staged, ignore_errors=True)


def remove_staged(folder: Path) -> None:
    """Remove the pictures of imports that were killed before their entries were stored.

    Args:
        folder: The gallery's folder; nobody else may import into it now, and what its record names has been placed.
    """
    with suppress(OSError):
        for path in folder.glob(f"{_PREFIX}????????"):
            shutil.rmtree(path, ignore_errors=True)


def _files_in(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent) / name for name in names)
