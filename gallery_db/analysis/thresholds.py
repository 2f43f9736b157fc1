"""The distance at which a run gives a name, as a gallery keeps it for each of its collections.

It stands in the record, and goes with it into snapshots. It is no operation of the log: an undo leaves it alone.
Of a served gallery it travels with the server's log, so that all runs there take it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from gallery_db.entry import utc_now
from gallery_db.errors import GalleryError
from gallery_db.store.lock import user_at_host
from gallery_db.store.thresholds import (
    DEFAULT_THRESHOLD,
    StoredThreshold,
    ThresholdSource,
    count_changed_since,
    load_thresholds,
    save_thresholds,
)

if TYPE_CHECKING:
    from gallery_db.analysis.calibration_results import Calibration
    from gallery_db.gallery import Gallery

__all__ = [
    "MatchThreshold",
    "describe_outdated",
    "match_threshold",
    "reset_thresholds",
    "set_threshold",
    "store_calibrations",
    "stored_thresholds",
]

_OUTDATED_SHARE = 0.2
"""Share of the entries or identities that may change before a calibration is out of date."""

Origin = Literal["given", "calibration", "hand", "default"]


@dataclass(frozen=True, slots=True)
class MatchThreshold:
    """The threshold that a run uses.

    Attributes:
        value: Largest cosine distance at which a name is given.
        origin: ``"given"`` by the user, ``"calibration"`` or ``"hand"`` of the gallery, or the ``"default"``.
        words: What the user should hear of it, a line each.
    """

    value: float
    origin: Origin
    words: tuple[str, ...] = ()


def stored_thresholds(gallery: Gallery) -> dict[str, StoredThreshold]:
    """The thresholds of the open collection, by class in lower case; none for a gallery that has none.

    Raises:
        GalleryError: What is stored is of a newer gtrack, or damaged.
    """
    return load_thresholds(gallery.record, gallery.collection_key)


def _save(gallery: Gallery, thresholds: Mapping[str, StoredThreshold]) -> None:
    with gallery.transaction():
        save_thresholds(gallery.record, gallery.collection_key, thresholds)


def store_calibrations(gallery: Gallery, calibrations: Sequence[Calibration]) -> tuple[StoredThreshold, ...]:
    """Keep the thresholds that were found, in the place of those of the same classes.

    Whether they may be relied on (`Calibration.problems`) is for the caller to judge.

    Args:
        gallery: Open for writing, as it was when it was calibrated.
        calibrations: Of its classes.

    Raises:
        GalleryError: One of them found no threshold.
        GalleryReadOnlyError: The handle is for reading.
    """
    made = []
    for found in calibrations:
        point = found.chosen
        if point is None:
            raise GalleryError(
                f"No threshold was found for class {found.class_name!r}: {'; '.join(found.problems)}.",
                hint="Put more people into the gallery, or store one by hand with --threshold.",
            )
        settings = {
            "far": point.far,
            "how": point.how,
            "looks": 1 if found.mean is None else found.probe_size,
            "fpir": list(asdict(point.fpir).values()),
            "fnir": None if point.fnir is None else list(asdict(point.fnir).values()),
        }
        made.append(_made(gallery, found.class_name, point.threshold.estimate, "calibration", settings))
        made[-1] = replace(made[-1], entries=found.entries, identities=found.identities)
    _save(gallery, {**stored_thresholds(gallery), **{one.class_name.casefold(): one for one in made}})
    return tuple(made)


def set_threshold(gallery: Gallery, value: float, class_name: str | None = None) -> tuple[StoredThreshold, ...]:
    """Keep a threshold that somebody chose, for a class or for all that the collection holds.

    Raises:
        GalleryError: It is no cosine distance, or there is nothing of that class.
        GalleryReadOnlyError: The handle is for reading.
    """
    if not 0.0 <= value <= 2.0:
        raise GalleryError(f"A threshold is a cosine distance in 0 to 2, found {value}.", hint="Such as 0.25.")
    classes = {name.casefold(): name for name in _classes(gallery)}
    if class_name is not None:
        if class_name.casefold() not in classes:
            raise GalleryError(
                f"The gallery {gallery.location} holds nothing of class {class_name!r}.",
                hint=f"It holds {', '.join(sorted(classes)) or 'no entries at all'}.",
            )
        classes = {class_name.casefold(): classes[class_name.casefold()]}
    if not classes:
        raise GalleryError(f"The gallery {gallery.location} is empty.", hint="Ingest images first.")
    made = tuple(_made(gallery, name, float(value), "hand", {}) for name in classes.values())
    _save(gallery, {**stored_thresholds(gallery), **{one.class_name.casefold(): one for one in made}})
    return made


def reset_thresholds(gallery: Gallery, class_name: str | None = None) -> int:
    """Forget the collection's thresholds, or that of one class; returns how many there were."""
    if class_name is None:
        try:
            count = len(stored_thresholds(gallery))
        except GalleryError:
            count = 1  # damaged: the way out
        _save(gallery, {})
        return count
    kept = stored_thresholds(gallery)
    count = int(kept.pop(class_name.casefold(), None) is not None)
    _save(gallery, kept)
    return count


def _classes(gallery: Gallery) -> dict[str, tuple[int, int]]:
    """Entries and identities by class, in the first spelling of its name."""
    found: dict[str, tuple[int, int]] = {}
    spelling: dict[str, str] = {}
    for one in gallery.identities():
        name = spelling.setdefault(one.class_name.casefold(), one.class_name)
        entries, identities = found.get(name, (0, 0))
        found[name] = (entries + one.entries, identities + 1)
    return found


def _made(
    gallery: Gallery, class_name: str, threshold: float, by: ThresholdSource, settings: Mapping[str, Any]
) -> StoredThreshold:
    counts = {name.casefold(): count for name, count in _classes(gallery).items()}
    entries, identities = counts.get(class_name.casefold(), (0, 0))
    return StoredThreshold(
        class_name=class_name,
        threshold=threshold,
        by=by,
        at=utc_now(),
        who=user_at_host(),
        entries=entries,
        identities=identities,
        generation=gallery.generation,
        change=gallery.record.log.last_change(gallery.collection_key),
        settings=dict(settings),
    )


def describe_outdated(gallery: Gallery, stored: StoredThreshold) -> str | None:
    """In words, if the gallery is so much another than when it was calibrated that this should be done again."""
    if stored.by == "hand" or (gallery.generation == stored.generation and not stored.changed):
        return None
    counts = {name.casefold(): count for name, count in _classes(gallery).items()}
    entries, identities = counts.get(stored.class_name.casefold(), (0, 0))
    since = count_changed_since(gallery.record, gallery.collection_key, stored.change)
    # A snapshot that was put back has the changes of its own time alone, so that the numbers count as well.
    changed = max(stored.changed + since, abs(entries - stored.entries))
    if (
        changed <= _OUTDATED_SHARE * stored.entries
        and abs(identities - stored.identities) <= _OUTDATED_SHARE * stored.identities
    ):
        return None
    return (
        f"the match threshold of class {stored.class_name} was calibrated at {stored.entries} entries of "
        f"{stored.identities} identities, and now there are {entries} of {identities}; calibrate again with: "
        f"gtrack gallery calibrate --gallery {gallery.location}"
    )


def match_threshold(
    gallery: Gallery | None, given: float | None = None, class_names: Collection[str] | None = None
) -> MatchThreshold:
    """The threshold for a run: the user's, else the strictest of those of the classes that are matched.

    A class without a stored threshold counts with `DEFAULT_THRESHOLD`, as one number serves all classes of a run.

    Args:
        gallery: What is matched against; None for nothing.
        given: What the user asked for.
        class_names: The classes that are matched; None or empty for all.
    """
    if given is not None:
        return MatchThreshold(given, "given")
    if gallery is None:
        return MatchThreshold(DEFAULT_THRESHOLD, "default")
    stored = stored_thresholds(gallery)
    if not stored:
        return MatchThreshold(DEFAULT_THRESHOLD, "default")
    wanted = {name.casefold() for name in class_names or ()}
    candidates: list[tuple[float, StoredThreshold | None]] = [
        (stored[name].threshold, stored[name]) if name in stored else (DEFAULT_THRESHOLD, None)
        for name in (one.casefold() for one in _classes(gallery))
        if not wanted or name in wanted
    ]
    value, used = min(candidates, key=lambda one: one[0], default=(DEFAULT_THRESHOLD, None))
    if used is None:
        return MatchThreshold(DEFAULT_THRESHOLD, "default")
    how = "set by hand" if used.by == "hand" else f"calibrated for a false accept rate of {used.settings['far']:g}"
    words = [f"match threshold {value:.3f}: the gallery's, {how} ({used.at[:10]}, {used.who})"]
    old = describe_outdated(gallery, used)
    if old is not None:
        words.append(f"warning: {old}")
    return MatchThreshold(value, used.by, tuple(words))
