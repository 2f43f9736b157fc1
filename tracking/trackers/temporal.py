"""Temporal association: the same options for every tracker, any class id, one space of track ids.

ByteTrack and BoT-SORT by motion alone are gtrack's own (`tracking.trackers.motion`); the others are BoxMOT's and
roboflow's, whose packages are loaded for them only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gallery_db.errors import MissingPackageError
from gallery_db.suggestions import close_names, did_you_mean
from tracking.boxmot_adapter import BoxmotTracker, temporal_trackers, tracker_parameters
from tracking.errors import OptionError, TrackerError
from tracking.roboflow_adapter import RoboflowTracker, roboflow_parameters, roboflow_trackers
from tracking.trackers.motion.settings import known_options, motion_settings
from tracking.trackers.motion.tracker import MotionTracker

__all__ = ["DEFAULT_TEMPORAL", "TemporalOptions", "TemporalTracker", "available_temporal"]

DEFAULT_TEMPORAL = "botsort_motion"

# Tracking by motion alone costs no embeddings. The Kalman filter of BoT-SORT (over width and height, that of ByteTrack
# over height and aspect ratio; Aharon et al., 2022) follows people better; its matching without the detection score
# does not. The figures are in docs/benchmarks.md.
_PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    DEFAULT_TEMPORAL: ("botsort", {"use_embeddings": False, "use_cmc": False, "fuse_first_associate": True}),
}

_DEFAULT_FRAME_RATE = 30

_WITHOUT_EMBEDDINGS = frozenset({"bytetrack", "ocsort", "sfsort", *roboflow_trackers()})

# Shares of the level of the scores (`tracking.detections.score_level`): from which score a detection is matched first,
# and from which it may start a track; and the one threshold of trackers that have no other. Measured for three
# detectors on PETS and for drawn clips: docs/benchmarks.md, "Thresholds from the scores".
_FIRST, _START, _ONLY = 0.5, 0.85, 0.8
_WITH_TWO = frozenset({"botsort", "occluboost", "sfsort", "rf_bytetrack", "rf_botsort", "rf_cbiou"})
_WITHOUT_SCORES = 0.45


class ScoreThresholds(NamedTuple):
    """The thresholds of a tracker on the detections' scores.

    Attributes:
        first: Score from which a detection is matched first.
        start: Score from which it may start a track.
    """

    first: float
    start: float


def available_temporal() -> tuple[str, ...]:
    """Return the names that `TemporalOptions` takes, the default first; loads no tracker."""
    return (*_PRESETS, *temporal_trackers(), *roboflow_trackers())


@dataclass(frozen=True, slots=True)
class TemporalOptions:
    """Options of temporal association, with the same names for every tracker.

    Attributes:
        name: One of `available_temporal`: ``"botsort_motion"`` is BoT-SORT without embeddings and camera motion
            compensation, and with the detection score in its first matching.
        track_thresh: Score from which a detection may start a track and is matched first, in [0, 1]; None for
            thresholds that follow from the detector's scores, see `thresholds`.
        match_thresh: Highest association cost (1 - IoU, fused with the score) that still links a
            detection to a track: higher accepts more. ByteTrack and BotSort have such a gate.
        track_buffer: How long a lost track can continue, in frames at 30 per second, 1 or more: 30 is one second at
            any frame rate.
        frame_rate: Frames per second that `track_buffer` is scaled to, 1 or more; None for those of the video (30 where
            they are not known).
        max_obs: Largest number of observations of a track.
        per_class: Track each class on its own, so that tracks never cross classes.
        extra: Further options of the tracker, under the names that they have in its package.
    """

    name: str = DEFAULT_TEMPORAL
    track_thresh: float | None = None
    match_thresh: float = 0.8
    track_buffer: int = 45
    frame_rate: int | None = None
    max_obs: int = 30
    per_class: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)

    def validate(self) -> None:
        """Check names and ranges; loads no tracker.

        Raises:
            OptionError: A value out of range, or an unknown tracker.
        """
        if self.name not in available_temporal():
            raise OptionError(
                f"unknown temporal tracker {self.name!r}; expected one of {', '.join(available_temporal())}.",
                field="temporal",
                hint=did_you_mean(self.name, available_temporal()),
            )
        for name in ("track_thresh", "match_thresh"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value <= 1.0:
                raise OptionError(f"`{name}` must be from 0 to 1, found {value}.", field=name)
        for name in ("track_buffer", "frame_rate", "max_obs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise OptionError(f"`{name}` must be at least 1, found {value}.", field=name)

    def for_video(self, fps: float) -> TemporalOptions:
        """Return the options for a video with a number of frames per second; a `frame_rate` that was given stays."""
        return self if self.frame_rate is not None else replace(self, frame_rate=max(1, round(fps)))

    @property
    def takes_embeddings(self) -> bool:
        """Whether the tracker may use embeddings; loads no tracker."""
        chosen = {**self._preset, **self.extra}
        return bool(chosen.get("use_embeddings", self.name not in _WITHOUT_EMBEDDINGS))

    @property
    def tracker_name(self) -> str:
        """Name of the tracker in BoxMOT's or roboflow's adapter."""
        return _PRESETS[self.name][0] if self.name in _PRESETS else self.name

    @property
    def _preset(self) -> Mapping[str, Any]:
        return _PRESETS[self.name][1] if self.name in _PRESETS else {}

    def thresholds(self, level: float | None = None) -> ScoreThresholds:
        """Return the thresholds on scores: `track_thresh` for both where it is given, else shares of the level.

        Args:
            level: See `score_level`; None where nothing is known of the scores: then both are 0.45.
        """
        if self.track_thresh is not None:
            return ScoreThresholds(self.track_thresh, self.track_thresh)
        if level is None:
            return ScoreThresholds(_WITHOUT_SCORES, _WITHOUT_SCORES)
        first, start = (_FIRST, _START) if self.tracker_name in _WITH_TWO else (_ONLY, _ONLY)
        return ScoreThresholds(round(first * level, 2), round(start * level, 2))

    def constructor_arguments(self, level: float | None = None) -> dict[str, Any]:
        """Return the options of the chosen tracker, under the names that they have in its package.

        Args:
            level: See `thresholds`.

        Raises:
            OptionError: `extra` names something that the tracker does not take.
        """
        name = self.tracker_name
        first, start = self.thresholds(level)
        # A tracker without ByteTrack's buffer counts the age of a lost track in frames of this video.
        frame_rate = _DEFAULT_FRAME_RATE if self.frame_rate is None else self.frame_rate
        max_age = max(1, round(frame_rate / 30.0 * self.track_buffer))
        buffer = {"lost_track_buffer": self.track_buffer, "frame_rate": frame_rate}
        wanted: dict[str, dict[str, Any]] = {
            "bytetrack": {
                "track_thresh": start,
                "match_thresh": self.match_thresh,
                "track_buffer": self.track_buffer,
                "frame_rate": frame_rate,
            },
            "botsort": {
                "track_high_thresh": first,
                "new_track_thresh": start,
                "match_thresh": self.match_thresh,
                "track_buffer": self.track_buffer,
                "frame_rate": frame_rate,
            },
            "strongsort": {"min_conf": start, "max_age": max_age},
            "ocsort": {"det_thresh": start, "max_age": max_age},
            "deepocsort": {"det_thresh": start, "max_age": max_age},
            "hybridsort": {"det_thresh": start, "track_thresh": start, "max_age": max_age},
            "boosttrack": {"det_thresh": start, "max_age": max_age},
            "occluboost": {"det_thresh": first, "new_track_thresh": start, "max_age": max_age},
            "sfsort": {
                "high_th": first,
                "new_track_th": start,
                "central_timeout": max_age,
                "marginal_timeout": max_age,
            },
            "rf_bytetrack": {"high_conf_det_threshold": first, "track_activation_threshold": start, **buffer},
            "rf_botsort": {"high_conf_det_threshold": first, "track_activation_threshold": start, **buffer},
            "rf_ocsort": {"high_conf_det_threshold": start, **buffer},
            "rf_cbiou": {"high_conf_det_threshold": first, "track_activation_threshold": start, **buffer},
            "rf_sort": {"track_activation_threshold": start, **buffer},
        }
        if not set(self.extra) <= known_options(name):
            parameters = self._parameters(name)
            unknown = sorted(set(self.extra) - set(parameters))
            if unknown:
                raise OptionError(
                    f"temporal tracker {self.name!r} has no option {', '.join(unknown)}; "
                    f"it takes {', '.join(sorted(parameters))}.",
                    field="temporal_options",
                    hint=did_you_mean(unknown[0], parameters),
                )
        if name in roboflow_trackers():
            return {**wanted[name], **self.extra}
        # BoxMOT needs more observations than max_age, and would warn at every start.
        return {"max_obs": max(self.max_obs, max(max_age, 30) + 5), **wanted[name], **self._preset, **self.extra}

    def _parameters(self, name: str) -> Collection[str]:
        """Return the options that a tracker takes; without BoxMOT, those known here if one of them seems to be meant.

        Raises:
            MissingPackageError: The tracker's package is not installed, and an option may be one of its own.
        """
        if name in roboflow_trackers():
            return roboflow_parameters(name)
        try:
            return tracker_parameters(name)
        except MissingPackageError:
            known = known_options(name)
            if not any(close_names(option, known) for option in set(self.extra) - known):
                raise
            return known


_AnyTracker = MotionTracker | BoxmotTracker | RoboflowTracker


def _maker(name: str, arguments: dict[str, Any], have_embeddings: bool) -> Callable[[], _AnyTracker]:
    """Return what makes trackers of a name with these options."""
    if name in roboflow_trackers():
        return lambda: RoboflowTracker(name, arguments)
    settings = motion_settings(name, arguments)
    if settings is not None:
        return lambda: MotionTracker(settings)
    if "use_embeddings" in tracker_parameters(name):
        arguments.setdefault("use_embeddings", have_embeddings)
    return lambda: BoxmotTracker(name, arguments)


class TemporalTracker:
    """Associates detections over time. Ids start at 0 in every instance.

    Args:
        options: Which tracker, and its options.
        have_embeddings: Whether there is a ReID model. A tracker that can use embeddings then gets them; without one,
            a tracker that needs them is refused.
        level: The level of the detections' scores, see `TemporalOptions.thresholds`.

    Raises:
        OptionError: See `TemporalOptions.constructor_arguments`.
        TrackerError: The tracker needs embeddings and there are none.
    """

    def __init__(self, options: TemporalOptions, *, have_embeddings: bool, level: float | None = None) -> None:
        options.validate()
        self._options = options
        self._make = _maker(options.tracker_name, options.constructor_arguments(level), have_embeddings)
        first = self._make()
        self.uses_embeddings = first.uses_embeddings
        self.uses_frame = first.uses_frame
        if self.uses_embeddings and not have_embeddings:
            raise TrackerError(
                f"temporal tracker {options.name!r} needs ReID embeddings.",
                hint=f'Give `reid_weights` (such as "builtin"), or choose `temporal="{DEFAULT_TEMPORAL}"`.',
            )
        self._threshold = np.float32(options.thresholds(level).first)
        # BoxMOT refuses negative class ids, and its per-class mode has 80 classes: it gets consecutive codes.
        self._class_codes: dict[int, int] = {}
        self._trackers: dict[int, _AnyTracker] = {}
        self._unused: _AnyTracker | None = first
        self._ids: dict[tuple[int, int], int] = {}

    def _tracker(self, group: int) -> _AnyTracker:
        if group not in self._trackers:
            self._trackers[group] = self._unused or self._make()
            self._unused = None
        return self._trackers[group]

    def update(
        self,
        boxes: NDArray[np.float64],
        scores: NDArray[np.float64],
        class_ids: NDArray[np.int64],
        image: NDArray[np.uint8] | None = None,
        embeddings: NDArray[np.float32] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Advance by one frame; must be called for every frame, also for one without detections.

        Args:
            boxes: (N, 4) xyxy in pixels, finite, of positive area.
            scores: (N,) in [0, 1].
            class_ids: (N,), any integer.
            image: (H, W, 3) uint8 BGR; needed where `uses_frame`.
            embeddings: (N, D) unit vectors; needed where `uses_embeddings`.

        Returns:
            Track ids (M,), indices (M,) and smoothed boxes (M, 4) of the detections that belong to a
            track. A smoothed box is always finite and of positive area.
        """
        scores32 = scores.astype(np.float32)
        # The trackers compare strictly on both sides of the threshold, so that a score which equals
        # it would belong to neither stage.
        scores32[scores32 == self._threshold] = np.nextafter(self._threshold, np.float32(2))
        np.clip(scores32, 0.0, 1.0, out=scores32)
        codes = np.fromiter(
            (self._class_codes.setdefault(int(c), len(self._class_codes)) for c in class_ids), np.int64, len(class_ids)
        )
        if self._options.per_class:
            groups = {code: np.flatnonzero(codes == code) for code in range(len(self._class_codes))}
        else:
            groups = {0: np.arange(len(boxes))}
        ids: list[NDArray[np.int64]] = []
        indices: list[NDArray[np.int64]] = []
        smoothed: list[NDArray[np.float32]] = []
        for group, rows in groups.items():
            tracker = self._tracker(group)
            found = boxes[rows].astype(np.float32), scores32[rows]
            if isinstance(tracker, MotionTracker):
                track_ids, taken, track_boxes = tracker.update(*found)
            else:
                used = None if embeddings is None or not self.uses_embeddings else embeddings[rows]
                track_ids, taken, track_boxes = tracker.update(*found, codes[rows], image, used)
            if self._options.per_class:
                track_ids = np.array(
                    [self._ids.setdefault((group, int(t)), len(self._ids)) for t in track_ids], np.int64
                )
            ids.append(track_ids)
            indices.append(rows[taken])
            smoothed.append(track_boxes)
        if not ids:
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 4))
        all_ids = np.concatenate(ids)
        all_indices = np.concatenate(indices)
        all_boxes = np.concatenate(smoothed).astype(np.float64)
        bad = ~np.isfinite(all_boxes).all(axis=1)
        bad |= (all_boxes[:, 2] <= all_boxes[:, 0]) | (all_boxes[:, 3] <= all_boxes[:, 1])
        all_boxes[bad] = boxes[all_indices[bad]]
        return all_ids, all_indices, all_boxes
