"""The match threshold of a gallery whose user has chosen none.

With few people, it is the default: in a space that is known for the model it means the same for all of them, and
few strangers are that near to one of a few people. With more people, strangers find a person who looks like them, and
the gallery's own entries decide: the threshold is the cautious end of what calibration finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gallery_db.analysis.calibration import calibrate_gallery
from gallery_db.analysis.class_calibration import FEW_IDENTITIES
from gallery_db.gallery import Gallery
from gallery_db.spaces.learning import PeopleStatistics
from gallery_db.store.thresholds import DEFAULT_THRESHOLD

__all__ = ["AUTOMATIC_FAR", "AutomaticThreshold", "measure_threshold"]

AUTOMATIC_FAR = 0.05
"""Share of strangers that get a name, at most, at a threshold that gtrack measures unasked."""

_MAX_PROBES = 1500
_PRIOR_PAIRS = 5
"""People that the usual distance of different people counts as, beside the gallery's own."""
_USUAL_DISTANCE = 2 * DEFAULT_THRESHOLD
_FEWEST = 5


@dataclass(frozen=True, slots=True)
class AutomaticThreshold:
    """A threshold, and how sure it is.

    Attributes:
        value: Largest distance at which a name is given.
        people: Number of identities of the class.
        settings: As in `StoredThreshold`; empty where nothing could be measured.
    """

    value: float
    people: int
    settings: Mapping[str, Any]


def measure_threshold(gallery: Gallery, class_name: str, far: float | None = None) -> AutomaticThreshold:
    """Measure the threshold of one class.

    Args:
        gallery: Open.
        class_name: The class.
        far: The false accept rate; by default `AUTOMATIC_FAR`, and never more than the default threshold.
    """
    people = sum(one.class_name.casefold() == class_name.casefold() for one in gallery.identities())
    limit = _usual_threshold(gallery, class_name)
    if people < FEW_IDENTITIES and far is None:
        return AutomaticThreshold(limit, people, {})
    (found,) = calibrate_gallery(gallery, far=far or AUTOMATIC_FAR, class_name=class_name, max_probes=_MAX_PROBES)
    point = found.chosen
    if point is None or found.problems:
        return AutomaticThreshold(limit, people, {})
    value = min(point.threshold.low, limit) if far is None else point.threshold.estimate
    fpir = list(asdict(point.cautious_fpir if far is None else point.fpir).values())
    looks = 1 if found.mean is None else found.probe_size
    return AutomaticThreshold(value, people, {"far": point.far, "how": point.how, "looks": looks, "fpir": fpir})


def _usual_threshold(gallery: Gallery, class_name: str) -> float:
    """Return the default threshold, for a model that gtrack does not know in the scale of its distances.

    Half the mean distance of different people: in a known space, and for the embeddings of the built-in model, that is
    about the default.
    """
    if gallery.space is not None or gallery.model.name == "builtin":
        return DEFAULT_THRESHOLD
    view = gallery.view(search="exact")
    columns = [column for column, name in enumerate(view.identity_classes) if name.casefold() == class_name.casefold()]
    if len(columns) < _FEWEST:
        return DEFAULT_THRESHOLD
    rows = np.flatnonzero(np.isin(view.row_columns, columns))
    embeddings = view.embeddings[rows]
    distance = PeopleStatistics(embeddings, view.row_columns[rows]).other_distance(embeddings)
    count = len(columns)
    return float((count * distance + _PRIOR_PAIRS * _USUAL_DISTANCE) / (count + _PRIOR_PAIRS) / 2)
