"""Learn the space of a collection from its entries, and keep it up to date as the collection grows."""

from __future__ import annotations

from typing import Any

import numpy as np

from gallery_db.errors import GalleryError
from gallery_db.model import EmbeddingModel
from gallery_db.spaces.cameras import cameras_of
from gallery_db.spaces.learning import MIN_PEOPLE, learn_space
from gallery_db.spaces.prior import prior_of
from gallery_db.spaces.space import EmbeddingSpace
from gallery_db.spaces.stored import PLAIN, save_space, stored_space
from gallery_db.store.record import Record
from gallery_db.times import utc_now

__all__ = ["adapt_collection", "keep_adapted"]

_MAX_ENTRIES = 20
"""Entries of one person that are used, evenly spread; more of them say nothing of other people."""
_GROWTH = 0.2
"""Part by which the number of people may change before a collection is adapted again."""


def adapt_collection(record: Record, collection: int, model: EmbeddingModel) -> EmbeddingSpace | None:
    """Learn the space of a collection from all its entries.

    Returns:
        The space; None where there are too few people, and nothing is known of the model.
    """
    rows = record.entries.view_rows(collection, model.dimension)
    pairs = zip(rows.identities, rows.class_names, strict=True)
    keys = np.asarray([f"{class_name.casefold()}\0{identity}" for identity, class_name in pairs], dtype=str)
    people = np.unique(keys, return_inverse=True)[1]
    chosen: list[int] = []
    for rows_of_person in np.split(np.argsort(people, kind="stable"), np.cumsum(np.bincount(people))[:-1]):
        most = min(_MAX_ENTRIES, len(rows_of_person))
        chosen += rows_of_person[np.linspace(0, len(rows_of_person) - 1, most).astype(int)].tolist() if most else []
    chosen.sort()
    cameras = cameras_of(rows)
    facts: dict[str, Any] = {"at": utc_now(), "generation": rows.generation}
    seen_by = [cameras[row] for row in chosen]
    return learn_space(rows.vectors[chosen], people[chosen], prior_of(model), seen_by, facts)


def keep_adapted(record: Record, collection: int, model: EmbeddingModel) -> EmbeddingSpace | None:
    """Learn the space of a collection again if its number of people has changed much since, and store it.

    Returns:
        The new space; None where the old one stays.
    """
    try:
        stored = stored_space(record, collection, model)
    except GalleryError:
        stored = None  # it cannot be read, and is learned again
    if stored == PLAIN:
        return None
    counts = record.entries.counts(collection)
    people = len({(identity, class_name.casefold()) for identity, class_name, _, _ in counts})
    if not people or (prior_of(model) is None and people < MIN_PEOPLE):
        return None
    if isinstance(stored, EmbeddingSpace):
        before = int(stored.facts.get("people", 0))
        if abs(people - before) <= _GROWTH * before:
            return None
    space = adapt_collection(record, collection, model)
    if space is not None:
        save_space(record, collection, space)
    return space
