"""The settings of the two trackers, under the names of their options in BoxMOT."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tracking.errors import OptionError
from tracking.trackers.motion.kalman import ASPECT_HEIGHT, WIDTH_HEIGHT, BoxModel

__all__ = ["MotionSettings", "motion_settings"]

# BoxMOT's constructors take it as well; it bounds what they keep for drawing.
_WITHOUT_EFFECT = frozenset({"max_obs"})
_FLAGS = frozenset({"fuse_first_associate"})
_MAX_VALUE = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionSettings:
    """What distinguishes ByteTrack from BoT-SORT without embeddings.

    Attributes:
        model: The values that the Kalman filter follows.
        high: Score above which a detection is matched first.
        low: Score above which it is matched at all.
        new: Score from which it may start a track.
        fuse_first: Whether the first matching multiplies the IoU by the detection's score.
        first, second, unconfirmed: Highest cost that links a detection to a track: in the first matching, in that of
            the remaining tracks with low scores, and in that of tracks which have had one detection only.
        max_lost: Frames for which a lost track can continue.
        remembered: Number of the latest removed tracks that are remembered: one that came back at the last moment is
            removed for good when it is lost again.
    """

    model: BoxModel
    high: float
    low: float
    new: float
    fuse_first: bool
    first: float
    second: float
    unconfirmed: float
    max_lost: int
    remembered: int


# Thresholds without another source are those of the authors' code: ByteTrack's second matching at .5 and that of
# unconfirmed tracks at .7 (yolox/tracker/byte_tracker.py), BoT-SORT's the same (tracker/bot_sort.py).
def _bytetrack(
    *,
    track_thresh: float,
    match_thresh: float,
    track_buffer: float,
    frame_rate: float,
    min_conf: float = 0.1,
) -> MotionSettings:
    return MotionSettings(
        model=ASPECT_HEIGHT,
        high=track_thresh,
        low=min_conf,
        new=track_thresh,
        fuse_first=True,
        first=match_thresh,
        second=0.5,
        unconfirmed=0.7,
        max_lost=int(frame_rate / 30.0 * track_buffer),
        remembered=2**62,
    )


def _botsort(
    *,
    track_high_thresh: float,
    new_track_thresh: float,
    match_thresh: float,
    track_buffer: float,
    frame_rate: float,
    fuse_first_associate: bool = False,
    track_low_thresh: float = 0.1,
    second_match_thresh: float = 0.5,
    unconfirmed_match_thresh: float = 0.7,
) -> MotionSettings:
    return MotionSettings(
        model=WIDTH_HEIGHT,
        high=track_high_thresh,
        low=track_low_thresh,
        new=new_track_thresh,
        fuse_first=fuse_first_associate,
        first=match_thresh,
        second=second_match_thresh,
        unconfirmed=unconfirmed_match_thresh,
        max_lost=int(frame_rate / 30.0 * track_buffer),
        remembered=100,
    )


# By tracker: its settings, and the options that must be off.
_TRACKERS: dict[str, tuple[Callable[..., MotionSettings], frozenset[str]]] = {
    "bytetrack": (_bytetrack, frozenset()),
    "botsort": (_botsort, frozenset({"use_embeddings", "use_cmc"})),
}


def known_options(name: str) -> frozenset[str]:
    """Return the options of a BoxMOT tracker that are known here; none for a tracker that is not here."""
    if name not in _TRACKERS:
        return frozenset()
    make, off = _TRACKERS[name]
    return off.union(inspect.signature(make).parameters, _WITHOUT_EFFECT)


def motion_settings(name: str, options: Mapping[str, Any]) -> MotionSettings | None:
    """Return the settings for the options of a tracker.

    Args:
        name: BoxMOT's name of the tracker.
        options: Its options under BoxMOT's names, with those that gtrack always sets.

    Returns:
        None for another tracker, and for options that ask for more than motion.

    Raises:
        OptionError: A value of the wrong type, or out of range.
    """
    if name not in _TRACKERS or not set(options) <= known_options(name):
        return None
    make, off = _TRACKERS[name]
    if any(options.get(option) is not False for option in off):
        return None
    chosen = {option: value for option, value in options.items() if option not in off | _WITHOUT_EFFECT}
    for option, value in chosen.items():
        is_flag = option in _FLAGS
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= _MAX_VALUE
        if not (isinstance(value, bool) if is_flag else is_number):
            expected = "true or false" if is_flag else f"a number from 0 to {_MAX_VALUE}"
            raise OptionError(
                f"temporal tracker {name!r} needs {expected} for {option}, found {value!r}.", field="temporal_options"
            )
    return make(**chosen)
