"""Rows of a served gallery's log: some changes of one operation, and how Chroma's metadata carries them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.embeddings import unit_rows
from gallery_db.entry import Entry
from gallery_db.errors import GalleryError, GalleryFormatError
from gallery_db.media.entry_pictures import crop_path, detect_image_suffix
from gallery_db.regular_files import read_regular
from gallery_db.store.entry_rows import entry_from_facts, facts_of

__all__ = [
    "LOG_FORMAT",
    "LogRow",
    "OperationFacts",
    "decode_row",
    "encode_row",
    "keep_pictures",
    "pictures_of",
    "row_size",
]

LOG_FORMAT = 2

MOST_PICTURE = 64 * 1024
"""Bytes of an entry's crop that travels with it."""

_ACTIONS = ("add", "update", "replace", "remove", "reserve", "base", "setting")


@dataclass(frozen=True, slots=True)
class OperationFacts:
    """The operation that a change belongs to, the same at every client.

    Attributes:
        uuid: Which one.
        action: One word.
        words: The whole of it.
        who: ``user@host``.
        at: ISO 8601 UTC.
    """

    uuid: str
    action: str
    words: str
    who: str
    at: str


@dataclass(frozen=True, slots=True)
class LogRow:
    """One row.

    Attributes:
        id: Unique, given when the change is made: delivering it twice changes nothing.
        action: ``"add"`` (in place of what is there), ``"update"``, ``"replace"``, ``"remove"``; ``"reserve"`` asks
            for `number` names of strangers, ``"base"`` says how many are reserved where a log begins; ``"setting"``
            says a fact about the collection.
        operation: Of which operation.
        entries: N entries as they are now; none for the last four actions.
        ids: The entries that are removed.
        vectors: (N, D) float32 of an add or a replace.
        pictures: Crops by their place in the gallery's folder.
        number: Of names.
        setting: The fact's name and what it is now.
    """

    id: str
    action: str
    operation: OperationFacts
    entries: tuple[Entry, ...] = ()
    ids: tuple[str, ...] = ()
    vectors: NDArray[np.float32] | None = None
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    number: int = 0
    setting: tuple[str, str] | None = None

    @property
    def changes(self) -> int:
        """How many entries it is about."""
        return len(self.entries) + len(self.ids)


def encode_row(row: LogRow, *, most: int | None = None) -> dict[str, str]:
    """A row as metadata of Chroma.

    Args:
        row: The row.
        most: Characters in one value; what is longer is cut into ``key``, ``key.1``, ``key.2``, ...
    """
    facts: dict[str, Any] = {"a": row.action, "o": list(_operation_values(row.operation))}
    if row.entries:
        facts["e"] = [facts_of(entry) for entry in row.entries]
    if row.ids:
        facts["i"] = list(row.ids)
    if row.number:
        facts["n"] = row.number
    if row.setting is not None:
        facts["s"] = list(row.setting)
    if row.pictures:
        facts["p"] = {place: len(data) for place, data in row.pictures.items()}
    # ASCII only, so that a character is a byte wherever a limit counts one of them.
    values = {"c": json.dumps(facts, separators=(",", ":"))}
    if row.vectors is not None:
        values["v"] = base64.b64encode(row.vectors.astype("<f4").tobytes()).decode()
    if row.pictures:
        values["b"] = base64.b64encode(b"".join(row.pictures.values())).decode()
    if most is None:
        return values
    return {
        (key if not start else f"{key}.{start // most}"): value[start : start + most]
        for key, value in values.items()
        for start in range(0, len(value), most)
    }


def _operation_values(operation: OperationFacts) -> tuple[str, ...]:
    return operation.uuid, operation.action, operation.words, operation.who, operation.at


def row_size(row: LogRow) -> int:
    """About how many bytes it takes."""
    vectors = 0 if row.vectors is None else row.vectors.nbytes
    return (vectors + sum(map(len, row.pictures.values()))) * 4 // 3 + 600 * row.changes + 500


def decode_row(id_: str, metadata: Mapping[str, Any] | None, dimension: int) -> LogRow:
    """The way back.

    Raises:
        GalleryFormatError: It is no such row, or of another dimension.
    """
    try:
        facts = json.loads(_joined(metadata or {}, "c"))
        action = facts["a"]
        if action not in _ACTIONS:
            raise ValueError(f"unknown action {action!r}")
        operation = OperationFacts(*(str(value) for value in facts["o"]))
        entries = tuple(entry_from_facts(entry) for entry in facts.get("e", ()))
        if not all(isinstance(entry.id, str) and entry.id and isinstance(entry.identity, str) for entry in entries):
            raise ValueError("an entry without id or identity")
        vectors = None
        if action in ("add", "replace"):
            raw = np.frombuffer(base64.b64decode(_joined(metadata or {}, "v"), validate=True), "<f4")
            vectors = unit_rows(raw.reshape(len(entries), dimension), dimension, count=len(entries), what="embeddings")
        pictures = {}
        if facts.get("p"):
            data = base64.b64decode(_joined(metadata or {}, "b"), validate=True)
            start = 0
            for place, size in facts["p"].items():
                pictures[str(place)] = data[start : start + int(size)]
                start += int(size)
        ids = tuple(str(one) for one in facts.get("i", ()))
        setting = None
        if action == "setting":
            name, value = facts["s"]
            setting = str(name), str(value)
        return LogRow(id_, action, operation, entries, ids, vectors, pictures, int(facts.get("n", 0)), setting)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, GalleryError) as error:
        raise GalleryFormatError(f"Row {id_!r} of the log is none of gtrack's: {error}.") from None


def _joined(metadata: Mapping[str, Any], key: str) -> str:
    parts = [str(metadata[key])]
    while (part := metadata.get(f"{key}.{len(parts)}")) is not None:
        parts.append(str(part))
    return "".join(parts)


def pictures_of(folder: Path, entries: Sequence[Entry]) -> dict[str, bytes]:
    """The kept crops of entries, by their place in a gallery's folder, as far as they are there and small enough."""
    found = {}
    for entry in entries:
        place = crop_path(folder, entry)
        if place is None:
            continue
        try:
            found[str(entry.extra["crop"])] = read_regular(place, MOST_PICTURE)
        except OSError:
            continue  # an entry without its picture is better than none
    return found


def keep_pictures(folder: Path, row: LogRow) -> None:
    """Put a row's crops into a gallery's folder, where its entries say and nowhere else."""
    for entry in row.entries:
        data = row.pictures.get(str(entry.extra.get("crop")))
        place = crop_path(folder, entry)
        if data is None or place is None or detect_image_suffix(data) is None:
            continue
        try:
            if place.is_file() and place.read_bytes() == data:
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            from gallery_db.atomic_files import atomic_path

            with atomic_path(place) as beside:
                beside.write_bytes(data)
        except OSError:
            continue
