"""The labels of images and entries: identity, camera and class, and which entries are right for a query."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gallery_db import Entry
from gallery_db.media.images import IMAGE_SUFFIXES
from gallery_db.media.market_names import DISTRACTOR, JUNK, parse_market_name
from tracking.errors import EvaluationError

__all__ = ["LabelTable", "ReidLabel", "first_of_each", "label_of_entry", "labelled_images"]


@dataclass(frozen=True, slots=True)
class ReidLabel:
    """The label of an image or an entry.

    Attributes:
        identity: The person, `JUNK` or `DISTRACTOR`.
        camera: The camera; None where it is unknown.
        class_name: The class, in lower case.
    """

    identity: str
    camera: str | None
    class_name: str = "person"

    @property
    def is_person(self) -> bool:
        """Whether it is neither junk nor a distractor."""
        return self.identity not in (JUNK, DISTRACTOR)


def label_of_entry(entry: Entry) -> ReidLabel:
    """Return the label of a gallery's entry; its camera is in the image's name, or the source of the enrolment."""
    name = parse_market_name(entry.source)
    if entry.origin == "track":
        camera = str(entry.extra["source_id"]) if "source_id" in entry.extra else None
    else:
        camera = name.camera if name is not None else None
    return ReidLabel(entry.identity, camera, entry.class_name.casefold())


def labelled_images(folder: Path) -> tuple[list[tuple[Path, ReidLabel]], int]:
    """Return the images of a folder with their labels, sorted by path and without junk; and the number of junk images.

    Raises:
        EvaluationError: There is no such folder, it has no images, or the label of an image is unknown.
    """
    if not folder.is_dir():
        raise EvaluationError(f"{folder}: expected a folder of images, found no folder there.")
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".") and file.is_file()
    )
    found = []
    junk = 0
    for file in files:
        name = parse_market_name(file)
        parts = file.relative_to(folder).parts
        if len(parts) > 1:
            # A sub-folder is an identity, as for `ingest_folder`, whatever the names of its images.
            label = ReidLabel(parts[0], name.camera if name is not None else None)
        elif name is not None:
            label = ReidLabel(name.person, name.camera)
        else:
            raise EvaluationError(
                f"{file}: the identity of this image is unknown.",
                hint="Expected names as in Market-1501 (0001_c1s1_001051_03.jpg), or one sub-folder an identity.",
            )
        if label.identity == JUNK:
            junk += 1
        else:
            found.append((file, label))
    if not found:
        raise EvaluationError(f"{folder} has no images of people.", hint="Give a folder of images.")
    return found, junk


def first_of_each(labels: Mapping[str, ReidLabel]) -> list[str]:
    """Return the id of the first entry of each identity, camera and class."""
    first: dict[ReidLabel, str] = {}
    for id_, label in labels.items():
        if label.is_person:
            first.setdefault(label, id_)
    return list(first.values())


class LabelTable:
    """The labels of a gallery's entries as arrays, to compare a query with all of them at once.

    Args:
        labels: Entry id to its label.
    """

    def __init__(self, labels: Mapping[str, ReidLabel]) -> None:
        self._row_of = {id_: row for row, id_ in enumerate(labels)}
        self._identities, self._identity_codes = _encode(label.identity for label in labels.values())
        self._cameras, self._camera_codes = _encode(label.camera for label in labels.values())
        self._classes, self._class_codes = _encode(label.class_name for label in labels.values())

    def rows(self, ids: Iterable[str]) -> NDArray[np.intp]:
        """Return the rows of entries."""
        return np.fromiter((self._row_of[id_] for id_ in ids), np.intp)

    def match(self, label: ReidLabel, id_: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which entries are right for a query, and which are ignored, as (N,) bool each.

        Args:
            label: The query's label.
            id_: The query's id, if it is an entry itself.
        """
        same = self._identities == self._identity_codes.get(label.identity, -1)
        ignored = self._identities == self._identity_codes.get(JUNK, -1)
        ignored |= self._classes != self._class_codes.get(label.class_name, -1)
        if label.camera is not None:
            ignored |= same & (self._cameras == self._camera_codes.get(label.camera, -1))
        if id_ in self._row_of:
            ignored[self._row_of[id_]] = True
        return same & ~ignored, ignored


def _encode(values: Iterable[str | None]) -> tuple[NDArray[np.intp], dict[str | None, int]]:
    """Return (N,) numbers of values, and the number of each value."""
    codes: dict[str | None, int] = {}
    return np.asarray([codes.setdefault(value, len(codes)) for value in values], np.intp), codes
