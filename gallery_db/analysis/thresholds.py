"""Store match thresholds in a gallery, and choose the one for a run.

The match threshold is the largest cosine distance at which a name is given. A gallery stores one for each class of a
collection; see `gallery_db.store.thresholds`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from gallery_db.errors import GalleryError
from gallery_db.noted_lock import user_at_host
from gallery_db.store.thresholds import (
    DEFAULT_THRESHOLD,
    StoredThreshold,
    ThresholdSource,
    count_changed_since,
    load_thresholds,
    save_thresholds,
)
from gallery_db.times import utc_now

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
    """The threshold of a run.

    Attributes:
        value: Largest cosine distance at which a name is given.
        origin: Where it comes from: ``"given"`` by the user; ``"calibration"`` or ``"hand"``, stored in the gallery; or
            ``"default"``.
        messages: Lines to show to the user.
    """

    value: float
    origin: Origin
    messages: tuple[str, ...] = ()


# -- storing ---------------------------------------------------------------------------------------------------


def stored_thresholds(gallery: Gallery) -> dict[str, StoredThreshold]:
    """Return the thresholds of the open collection, by class in lower case; empty if none are stored.

    Raises:
        GalleryError: They were stored by a newer gtrack, or are damaged.
    """
    return load_thresholds(gallery.record, gallery.collection_key)


def store_calibrations(gallery: Gallery, calibrations: Sequence[Calibration]) -> tuple[StoredThreshold, ...]:
    """Store the chosen thresholds of calibrations, in place of the earlier ones of the same classes.

    The caller decides whether they can be relied on (`Calibration.problems`).

    Args:
        gallery: Open for writing, unchanged since it was calibrated.
        calibrations: Calibrations of its classes.

    Raises:
        GalleryError: A calibration found no threshold.
        GalleryReadOnlyError: The gallery is open for reading only.
    """
    made = []
    for calibration in calibrations:
        point = calibration.chosen
        if point is None:
            raise GalleryError(
                f"No threshold was found for class {calibration.class_name!r}: {'; '.join(calibration.problems)}.",
                hint="Add images of more people to the gallery, or store a threshold by hand: "
                "`gtrack gallery calibrate --threshold`, or `set_threshold` in Python.",
            )
        settings = {
            "far": point.far,
            "how": point.how,
            "looks": 1 if calibration.mean is None else calibration.probe_size,
            "fpir": list(asdict(point.fpir).values()),
            "fnir": None if point.fnir is None else list(asdict(point.fnir).values()),
        }
        stored = _make_stored(gallery, calibration.class_name, point.threshold.estimate, "calibration", settings)
        made.append(replace(stored, entries=calibration.entries, identities=calibration.identities))
    _save(gallery, {**stored_thresholds(gallery), **{one.class_name.casefold(): one for one in made}})
    return tuple(made)


def set_threshold(gallery: Gallery, value: float, class_name: str | None = None) -> tuple[StoredThreshold, ...]:
    """Store a threshold that the user chose, for one class or for all classes of the open collection.

    Raises:
        GalleryError: The value is no cosine distance, or the collection has no entries (of that class).
        GalleryReadOnlyError: The gallery is open for reading only.
    """
    if not 0.0 <= value <= 2.0:
        raise GalleryError(
            f"Expected a threshold that is a cosine distance, 0 to 2, found {value}.", hint="Example: 0.25."
        )
    classes = {name.casefold(): name for name in _count_by_class(gallery)}
    if class_name is not None:
        if class_name.casefold() not in classes:
            raise GalleryError(
                f"The gallery {gallery.location} has no entries of class {class_name!r}.",
                hint=f"It has {', '.join(sorted(classes)) or 'no entries at all'}.",
            )
        classes = {class_name.casefold(): classes[class_name.casefold()]}
    if not classes:
        raise GalleryError(f"The gallery {gallery.location} is empty.", hint="Ingest images first.")
    made = tuple(_make_stored(gallery, name, float(value), "hand", {}) for name in classes.values())
    _save(gallery, {**stored_thresholds(gallery), **{one.class_name.casefold(): one for one in made}})
    return made


def reset_thresholds(gallery: Gallery, class_name: str | None = None) -> int:
    """Remove the stored thresholds of the open collection, or that of one class, and return how many there were."""
    if class_name is None:
        try:
            count = len(stored_thresholds(gallery))
        except GalleryError:
            count = 1  # damaged thresholds must be removable, too
        _save(gallery, {})
        return count
    thresholds = stored_thresholds(gallery)
    count = int(thresholds.pop(class_name.casefold(), None) is not None)
    _save(gallery, thresholds)
    return count


def _save(gallery: Gallery, thresholds: Mapping[str, StoredThreshold]) -> None:
    with gallery.transaction():
        save_thresholds(gallery.record, gallery.collection_key, thresholds)


def _make_stored(
    gallery: Gallery, class_name: str, threshold: float, by: ThresholdSource, settings: Mapping[str, Any]
) -> StoredThreshold:
    """Return a threshold with the present state of the gallery."""
    counts = {name.casefold(): count for name, count in _count_by_class(gallery).items()}
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


def _count_by_class(gallery: Gallery) -> dict[str, tuple[int, int]]:
    """Return the numbers of entries and identities of each class, under the first spelling of its name."""
    found: dict[str, tuple[int, int]] = {}
    spelling: dict[str, str] = {}
    for identity in gallery.identities():
        name = spelling.setdefault(identity.class_name.casefold(), identity.class_name)
        entries, identities = found.get(name, (0, 0))
        found[name] = (entries + identity.entries, identities + 1)
    return found


# -- choosing --------------------------------------------------------------------------------------------------


def match_threshold(
    gallery: Gallery | None, given: float | None = None, class_names: Collection[str] | None = None
) -> MatchThreshold:
    """Return the threshold for a run: the user's, else the strictest one of the classes that are matched.

    A class without a stored threshold counts with `DEFAULT_THRESHOLD`, because one value serves all classes of a run.

    Args:
        gallery: The gallery to match with; None for none.
        given: The user's threshold.
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
        for name in (class_name.casefold() for class_name in _count_by_class(gallery))
        if not wanted or name in wanted
    ]
    value, used = min(candidates, key=lambda candidate: candidate[0], default=(DEFAULT_THRESHOLD, None))
    if used is None:
        return MatchThreshold(DEFAULT_THRESHOLD, "default")
    how = "set by hand" if used.by == "hand" else f"calibrated for a false accept rate of {used.settings['far']:g}"
    messages = [f"match threshold {value:.3f}, stored in the gallery: {how} ({used.at[:10]}, {used.who})"]
    outdated = describe_outdated(gallery, used)
    if outdated is not None:
        messages.append(f"warning: {outdated}")
    return MatchThreshold(value, used.by, tuple(messages))


def describe_outdated(gallery: Gallery, stored: StoredThreshold) -> str | None:
    """Return a message if the gallery has changed so much that it should be calibrated again, else None."""
    if stored.by == "hand" or (gallery.generation == stored.generation and not stored.changed):
        return None
    counts = {name.casefold(): count for name, count in _count_by_class(gallery).items()}
    entries, identities = counts.get(stored.class_name.casefold(), (0, 0))
    since = count_changed_since(gallery.record, gallery.collection_key, stored.change)
    # A restored snapshot has only the changes until it was taken, so the numbers of entries are compared as well.
    changed = max(stored.changed + since, abs(entries - stored.entries))
    if (
        changed <= _OUTDATED_SHARE * stored.entries
        and abs(identities - stored.identities) <= _OUTDATED_SHARE * stored.identities
    ):
        return None
    return (
        f"the match threshold of class {stored.class_name} was calibrated with {stored.entries} entries of "
        f"{stored.identities} identities, and now there are {entries} of {identities}; calibrate again with: "
        f"gtrack gallery calibrate --gallery {gallery.location}"
    )
