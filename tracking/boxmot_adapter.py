"""The one module that imports BoxMOT, and through as few of its names as possible.

BoxMOT's API changes about monthly. Everything that gtrack asks of it goes through the functions
here; nothing else in the code base knows its types. BoxMOT (and the torch that it imports) is
loaded inside the functions, because importing `tracking` must stay cheap.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.errors import TrackerError

__all__ = ["BoxmotTracker", "temporal_trackers", "tracker_parameters"]

_CLASS_NAMES = {
    "bytetrack": "ByteTrack",
    "botsort": "BotSort",
    "strongsort": "StrongSort",
    "ocsort": "OcSort",
    "deepocsort": "DeepOcSort",
    "hybridsort": "HybridSort",
    "boosttrack": "BoostTrack",
    "occluboost": "OccluBoost",
    "sfsort": "SFSORT",
}

# ByteTrack never forgets a removed track and walks all of them at every frame: after some thousand
# busy frames that dominates the run. Only the last few can still matter to it.
_REMOVED_KEPT = 256


def temporal_trackers() -> tuple[str, ...]:
    """Names of the BoxMOT trackers that `gallery_hybrid` can use, ByteTrack first."""
    return tuple(_CLASS_NAMES)


def _tracker_class(name: str) -> Any:
    try:
        attribute = _CLASS_NAMES[name]
    except KeyError:
        raise TrackerError(
            f"unknown temporal tracker {name!r}; expected one of {', '.join(_CLASS_NAMES)}"
        ) from None
    cls = getattr(import_module("boxmot"), attribute)
    # BoxMOT sets its logger to INFO on stderr as it is imported.
    logging.getLogger("boxmot").setLevel(logging.WARNING)
    return cls


def tracker_parameters(name: str) -> dict[str, Any]:
    """The keyword parameters that a tracker's constructor takes, with their defaults."""
    parameters: dict[str, Any] = {}
    cls = _tracker_class(name)
    for base in reversed(cls.__mro__):
        if "__init__" not in vars(base) or base is object:
            continue
        for parameter in inspect.signature(base).parameters.values():
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                parameters[parameter.name] = parameter.default
    return parameters


class BoxmotTracker:
    """One BoxMOT tracker over one stream of frames.

    Args:
        name: One of `temporal_trackers`.
        options: Keyword arguments of that tracker's constructor.

    Raises:
        TrackerError: An unknown tracker, or an option that it does not take.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        cls = _tracker_class(name)
        try:
            self._tracker = cls(**options)
        except (TypeError, ValueError) as error:
            raise TrackerError(f"temporal tracker {name!r} refuses its options: {error}") from error
        requirements = self._tracker.requirements
        self.uses_embeddings: bool = bool(requirements.embeddings)
        self.uses_frame: bool = bool(requirements.frame or requirements.frame_dimensions_only)

    def update(
        self,
        boxes: NDArray[np.float32],
        scores: NDArray[np.float32],
        class_ids: NDArray[np.int64],
        image: NDArray[np.uint8] | None = None,
        embeddings: NDArray[np.float32] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Advance by one frame.

        Args:
            boxes: (N, 4) xyxy pixels, finite, of positive area.
            scores: (N,) in [0, 1].
            class_ids: (N,), not negative.
            image: The frame, (H, W, 3) uint8 BGR; needed where `uses_frame`.
            embeddings: (N, D) unit vectors; needed where `uses_embeddings`.

        Returns:
            Track ids (M,), the detection index (M,) of each, and the smoothed boxes (M, 4); tracks
            that no detection of this frame supports are left out.
        """
        torch = import_module("torch")
        structures = import_module("boxmot.structures")
        detections = structures.Detections(
            geometry=structures.Boxes(torch.from_numpy(np.ascontiguousarray(boxes, np.float32).reshape(-1, 4))),
            scores=torch.from_numpy(np.ascontiguousarray(scores, np.float32)),
            class_ids=torch.from_numpy(np.ascontiguousarray(class_ids, np.int64)),
            sample_id="frame",
            embeddings=None if embeddings is None else torch.from_numpy(np.ascontiguousarray(embeddings, np.float32)),
        )
        tracks = self._tracker.update(detections, image)
        removed = getattr(self._tracker, "removed_stracks", None)
        if isinstance(removed, list) and len(removed) > 2 * _REMOVED_KEPT:
            del removed[:-_REMOVED_KEPT]
        indices = tracks.detection_indices.numpy()
        supported = indices >= 0
        return (
            tracks.track_ids.numpy()[supported],
            indices[supported],
            tracks.geometry.values.numpy()[supported],
        )
