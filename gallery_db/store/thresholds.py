"""Match thresholds as a gallery's record keeps them, by collection and class.

They go with the record into snapshots. They are no operation of the log, so an undo leaves them alone, except that of
a restore, which brought others. Those of a served gallery travel with the server's log, so that all runs use the same
ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import orjson

from gallery_db.errors import GalleryError
from gallery_db.store.record import Record

__all__ = [
    "AUTOMATIC",
    "DEFAULT_THRESHOLD",
    "THRESHOLDS",
    "StoredThreshold",
    "ThresholdSource",
    "as_of_now",
    "change_thresholds",
    "count_changed_since",
    "for_others",
    "load_thresholds",
    "save_thresholds",
    "thresholds_for_others",
    "without_counters",
]

DEFAULT_THRESHOLD = 0.25
"""Cosine distance up to which a name is given where no other threshold was given or calibrated."""

THRESHOLDS = "thresholds"
"""Name of the setting under which the record keeps them."""

AUTOMATIC = "automatic_thresholds"
"""Name of the setting under which the record keeps those that gtrack measured unasked."""

ThresholdSource = Literal["calibration", "hand", "automatic"]

_VERSION = 2


@dataclass(frozen=True, slots=True)
class StoredThreshold:
    """The match threshold of one class, as the record keeps it.

    Attributes:
        class_name: The class.
        threshold: Largest cosine distance at which a name is given, in [0, 2].
        by: ``"calibration"``; ``"hand"`` for a threshold that a user chose; ``"automatic"`` for one measured unasked.
        at: When it was stored, ISO 8601 UTC.
        who: ``user@host``.
        entries: Number of entries of the class at that time.
        identities: Number of its identities at that time.
        generation: Generation of the collection at that time, as counted by this record.
        change: Number of the collection's last change at that time, as counted by this record.
        settings: Of a calibration: ``far``, ``how``, ``looks``, ``fpir`` and ``fnir`` (estimate, low, high), and
            the ``space`` that its distances are of.
        changed: Number of entries that had changed between the calibration and `change`, where this record received
            the threshold later.
    """

    class_name: str
    threshold: float
    by: ThresholdSource
    at: str
    who: str
    entries: int
    identities: int
    generation: int
    change: int
    settings: Mapping[str, Any]
    changed: int = 0


def load_thresholds(record: Record, collection: int, setting: str = THRESHOLDS) -> dict[str, StoredThreshold]:
    """Return the thresholds of a collection, by class in lower case; empty if none are stored.

    Args:
        record: The gallery's record.
        collection: The collection.
        setting: `THRESHOLDS` or `AUTOMATIC`.

    Raises:
        GalleryError: They were stored by a newer gtrack, or are damaged.
    """
    text = record.setting(collection, setting)
    if not text:
        return {}
    try:
        document = orjson.loads(text)
        if document["version"] > _VERSION:
            raise GalleryError(
                f"The thresholds of {record.place} were stored by a newer gtrack.", hint="Upgrade gtrack."
            )
        return {name: _checked(StoredThreshold(**facts)) for name, facts in document["classes"].items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise GalleryError(
            f"The thresholds stored in {record.place} cannot be read: {type(error).__name__}: {str(error)[:200]}.",
            hint="Remove them with `gtrack gallery calibrate --reset`, and calibrate again.",
        ) from error


def _checked(stored: StoredThreshold) -> StoredThreshold:
    """Return a stored threshold whose values have the types and ranges that gtrack writes.

    Raises:
        TypeError, ValueError: One has not.
    """
    for name in ("class_name", "by", "at", "who"):
        if type(getattr(stored, name)) is not str:
            raise TypeError(f"expected text as {name}")
    for name in ("entries", "identities", "generation", "change", "changed"):
        if type(getattr(stored, name)) is not int:
            raise TypeError(f"expected a whole number as {name}")
    if type(stored.threshold) not in (int, float) or not 0.0 <= stored.threshold <= 2.0:
        raise ValueError("expected a threshold from 0 to 2")
    if not isinstance(stored.settings, dict) or (
        stored.by == "calibration" and type(stored.settings.get("far")) not in (int, float)
    ):
        raise ValueError("expected settings with the false accept rate (far) of a calibration")
    return stored


def save_thresholds(
    record: Record, collection: int, thresholds: Mapping[str, StoredThreshold], setting: str = THRESHOLDS
) -> None:
    """Store the thresholds of a collection, by class in lower case, in place of all earlier ones."""
    document = {"version": _VERSION, "classes": {name: asdict(one) for name, one in sorted(thresholds.items())}}
    text = json.dumps(document, ensure_ascii=False, allow_nan=False)
    with record.transaction():
        if setting == THRESHOLDS:
            record.put_setting(collection, setting, text)
        else:
            record.set_meta(f"{setting}:{collection}", text)


def change_thresholds(record: Record, collection: int, text: str, before: str) -> None:
    """Store thresholds as a part of the operation that is open, so that an undo of it reverses this.

    Args:
        record: The record, in a transaction, after all changes of entries.
        collection: The collection.
        text: The thresholds, as `thresholds_for_others` returns them.
        before: Those that the record had before the first change of an entry, likewise.
    """
    record.log.note_setting(collection, THRESHOLDS, before)
    record.put_setting(collection, THRESHOLDS, as_of_now(text, record, collection))


def thresholds_for_others(record: Record, collection: int) -> str:
    """Return the thresholds of a collection as stored text to send to other records; empty for none."""
    return for_others(record.setting(collection, THRESHOLDS) or "", record, collection)


def without_counters(text: str) -> str:
    """Return stored thresholds without what depends on the record that holds them."""
    return _for_each(text, lambda stored: {**stored, "generation": 0, "change": 0, "changed": 0})


def count_changed_since(record: Record, collection: int, change: int) -> int:
    """Return how many entries of a collection have changed after one of its changes."""
    return len({id_ for _, id_ in record.log.changes_after(collection, change, record.log.last_change(collection))})


def as_of_now(text: str, record: Record, collection: int) -> str:
    """Return stored thresholds that come from another record of the gallery, dated by this record's own counters."""
    counters = {"generation": record.generation(collection), "change": record.log.last_change(collection)}
    return _for_each(text, lambda stored: {**stored, **counters})


def for_others(text: str, record: Record, collection: int) -> str:
    """Return stored thresholds to send to other records of the gallery, with the number of entries changed since."""

    def with_changed(stored: dict[str, Any]) -> dict[str, Any]:
        since = count_changed_since(record, collection, int(stored["change"]))
        return {**stored, "changed": int(stored.get("changed", 0)) + since}

    return _for_each(text, with_changed)


def _for_each(text: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> str:
    """Return the stored text with each class's threshold changed; text that cannot be read is returned as it is."""
    try:
        document = orjson.loads(text)
        if document["version"] > _VERSION:
            return text
        classes = {name: change(stored) for name, stored in document["classes"].items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return text
    return json.dumps({**document, "classes": classes}, ensure_ascii=False)
