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
    AUTOMATIC,
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

Origin = Literal["given", "calibration", "hand", "automatic", "default"]


@dataclass(frozen=True, slots=True)
class MatchThreshold:
    """The threshold of a run.

    Attributes:
        value: Largest cosine distance at which a name is given.
        origin: Where it comes from: ``"given"`` by the user; ``"calibration"`` or ``"hand"``, stored in the gallery;
            ``"automatic"``, measured from its entries; or ``"default"``.
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
            "space": _space_version(gallery),
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

    A class without a stored threshold counts with one that is measured from its entries (`measure_threshold`); so does
    one that was calibrated in another embedding space, for the same false accept rate.

    Args:
        gallery: The gallery to match with; None for none. Open for writing, it keeps what was measured.
        given: The user's threshold.
        class_names: The classes that are matched; None or empty for all.
    """
    if given is not None:
        return MatchThreshold(given, "given")
    if gallery is None:
        return MatchThreshold(DEFAULT_THRESHOLD, "default")
    stored = stored_thresholds(gallery)
    wanted = {name.casefold() for name in class_names or ()}
    classes = {name.casefold(): name for name in _count_by_class(gallery)}
    chosen = [
        _threshold_of(gallery, name, stored.get(folded))
        for folded, name in classes.items()
        if not wanted or folded in wanted
    ]
    return min(chosen, key=lambda one: one.value, default=MatchThreshold(DEFAULT_THRESHOLD, "default"))


def _threshold_of(gallery: Gallery, class_name: str, stored: StoredThreshold | None) -> MatchThreshold:
    """Return the threshold of one class."""
    if stored is not None and (stored.by == "hand" or _space_version(gallery) == stored.settings.get("space", "")):
        by_hand = stored.by == "hand"
        how = "set by hand" if by_hand else f"calibrated for a false accept rate of {stored.settings['far']:g}"
        messages = [
            f"match threshold {stored.threshold:.3f}, stored in the gallery: {how} ({stored.at[:10]}, {stored.who})"
        ]
        outdated = describe_outdated(gallery, stored)
        if outdated is not None:
            messages.append(f"warning: {outdated}")
        return MatchThreshold(stored.threshold, stored.by, tuple(messages))
    measured = _measured(gallery, class_name, None if stored is None else float(stored.settings["far"]))
    far = measured.settings.get("far")
    if far is None:
        if measured.threshold == DEFAULT_THRESHOLD:
            return MatchThreshold(DEFAULT_THRESHOLD, "default")
        why = f"half the mean distance of the gallery's {measured.identities} identities, compared as they are"
        return MatchThreshold(measured.threshold, "automatic", (f"match threshold {measured.threshold:.3f}: {why}.",))
    high = measured.settings["fpir"][2]
    why = (
        f"measured from the gallery's {measured.identities} identities, so that at most {100 * far:g} % of unknown "
        f"people get a name (95 % interval up to {100 * high:.0f} %)"
    )
    if stored is not None:
        why += "; the stored one was calibrated in another embedding space"
    return MatchThreshold(measured.threshold, "automatic", (f"match threshold {measured.threshold:.3f}: {why}.",))


def _space_version(gallery: Gallery) -> str:
    space = gallery.space
    return "" if space is None else space.version


def _measured(gallery: Gallery, class_name: str, far: float | None) -> StoredThreshold:
    """Return the threshold measured for a class: the one that the gallery keeps while it is true, else a new one."""
    try:
        kept = load_thresholds(gallery.record, gallery.collection_key, AUTOMATIC)
    except GalleryError:
        kept = {}  # damaged: measured again
    found = kept.get(class_name.casefold())
    space = _space_version(gallery)
    if (
        found is not None
        and found.settings.get("space") == space
        and found.settings.get("asked") == far
        and describe_outdated(gallery, found) is None
    ):
        return found
    from gallery_db.analysis.automatic import measure_threshold

    measured = measure_threshold(gallery, class_name, far)
    settings = {**measured.settings, "space": space, "asked": far}
    found = _make_stored(gallery, class_name, measured.value, "automatic", settings)
    if gallery.writable:
        with gallery.transaction():
            kept[class_name.casefold()] = found
            save_thresholds(gallery.record, gallery.collection_key, kept, AUTOMATIC)
    return found


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
