"""The only module that imports roboflow's `trackers` (Apache-2.0): trackers by motion alone, in numpy, without torch.

The package and `supervision`, in whose form it takes detections, are loaded inside the functions.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.distribution import DISTRIBUTION
from gallery_db.errors import MissingPackageError
from tracking.errors import TrackerError

__all__ = ["RoboflowTracker", "roboflow_parameters", "roboflow_trackers"]

_CLASS_NAMES = {
    "rf_bytetrack": "ByteTrackTracker",
    "rf_botsort": "BoTSORTTracker",
    "rf_ocsort": "OCSORTTracker",
    "rf_cbiou": "CBIoUTracker",
    "rf_sort": "SORTTracker",
}

# Objects, which no option can be given as.
_NOT_OPTIONS = frozenset({"iou", "state_estimator_class"})


def roboflow_trackers() -> tuple[str, ...]:
    """Return the names of the trackers of this package that `gallery_hybrid` can use; does not load it."""
    return tuple(_CLASS_NAMES)


def _tracker_class(name: str) -> Any:
    """Return the class of a tracker.

    Raises:
        MissingPackageError: The package is not installed.
    """
    if find_spec("trackers") is None:
        raise MissingPackageError(
            f"The temporal tracker {name} needs roboflow's package trackers, which is not installed.",
            hint=f"Run: pip install '{DISTRIBUTION}[trackers]'",
        )
    return getattr(import_module("trackers"), _CLASS_NAMES[name])


def roboflow_parameters(name: str) -> dict[str, Any]:
    """Return the keyword parameters of a tracker's constructor that can be options, with their defaults.

    Raises:
        MissingPackageError: The package is not installed.
    """
    parameters = inspect.signature(_tracker_class(name)).parameters.values()
    return {one.name: one.default for one in parameters if one.name not in _NOT_OPTIONS}


class RoboflowTracker:
    """One tracker of roboflow's over one stream of frames.

    Args:
        name: One of `roboflow_trackers`.
        options: Keyword arguments of that tracker's constructor.

    Raises:
        MissingPackageError: The package is not installed.
        TrackerError: The tracker refuses an option.
    """

    uses_embeddings = False

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self._name = name
        cls = _tracker_class(name)
        try:
            self._tracker = cls(**options)
        except (TypeError, ValueError) as error:
            raise TrackerError.of_options(name, error) from error
        # It compensates the camera's motion, which it sees in the picture.
        self.uses_frame: bool = bool(getattr(self._tracker, "enable_cmc", False))

    def update(
        self,
        boxes: NDArray[np.float32],
        scores: NDArray[np.float32],
        class_ids: NDArray[np.int64],
        image: NDArray[np.uint8] | None = None,
        embeddings: NDArray[np.float32] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Advance by one frame; see `BoxmotTracker.update`, whose arguments and results are the same.

        The boxes that it returns are those of the filter after this frame. `embeddings` have no effect.
        """
        supervision = import_module("supervision")
        detections = supervision.Detections(
            xyxy=boxes.reshape(-1, 4), confidence=scores, class_id=class_ids, data={"row": np.arange(len(boxes))}
        )
        try:
            found = self._tracker.update(detections, image if self.uses_frame else None)
            states = {track.tracker_id: track.get_state_bbox() for track in self._tracker.tracks}
        except (ValueError, TypeError, RuntimeError, np.linalg.LinAlgError) as error:
            raise TrackerError.of_update(self._name, error) from error
        if not len(found):
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 4), np.float32)
        ids = np.asarray(found.tracker_id, np.int64)
        tracked = ids >= 0
        rows = np.asarray(found.data["row"], np.int64)[tracked]
        ids = ids[tracked]
        smoothed = [states.get(track, boxes[row]) for track, row in zip(ids.tolist(), rows.tolist(), strict=True)]
        return ids, rows, np.array(smoothed, np.float32).reshape(-1, 4)
