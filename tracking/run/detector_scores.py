"""The level of a detector's scores, before the run: from what is known of the detector, or from some frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tracking.detections.base import DetectionFeed
from tracking.detections.score_level import ScoreLevel, level_of_header, score_level
from tracking.detections.source import DetectionSource
from tracking.detectors.base import LEVEL_KEY, Detector
from tracking.options import FrameRange, RunOptions
from tracking.video.frames import VideoFrames

__all__ = ["level_of_feed", "note_thresholds", "sampled_level"]

_SAMPLED_FRAMES = 16


def level_of_feed(feed: DetectionFeed, classes: frozenset[int] | None) -> ScoreLevel | None:
    """Return the level of the scores of a run's detections.

    What the detections state of their detector comes first, so that a run with saved detections has the thresholds of
    the run that made them. A file without it is read as a whole.

    Args:
        feed: The detections.
        classes: Ids of the classes to track; None for all.

    Returns:
        None where neither the detector nor the scores are known.
    """
    stated = level_of_header(feed.header)
    if stated is not None or not isinstance(feed, DetectionSource):
        return stated
    value = score_level(feed.scores(classes))
    return None if value is None else ScoreLevel(value, "scores")


def sampled_level(detector: Detector, video: str | Path, count: int | None, frame_range: FrameRange) -> float | None:
    """Return the level of a detector's scores on a video file, from frames evenly spread over the range.

    Args:
        detector: The detector.
        video: The file.
        count: Its number of frames; None where unknown.
        frame_range: First frame and the one after the last; None for open ends.

    Returns:
        See `score_level`; None where the detector states its level itself, or the video's length is not known.
    """
    if LEVEL_KEY in detector.facts or count is None:
        return None
    start, stop = frame_range[0] or 0, min(count, frame_range[1] or count)
    numbers = np.unique(np.linspace(start, stop - 1, _SAMPLED_FRAMES).astype(int))
    with VideoFrames() as frames:
        scores = [detector.detect([frames(str(video), int(number))])[0][:, 4] for number in numbers]
    found: NDArray[np.float64] = np.concatenate(scores).astype(np.float64)
    return score_level(found.round(4))


_WHERE = {"detector": "this detector's scores", "scores": "the scores of all detections"}


def note_thresholds(options: RunOptions, level: ScoreLevel | None, notify: Callable[[str], None]) -> None:
    """State the thresholds on scores, where the user has given none."""
    if not options.needs_score_level:
        return
    first, start = options.temporal.thresholds(None if level is None else level.value)
    if level is None:
        notify(f"a track starts at a score of {start:g}: nothing is known of the scores; `track_thresh` changes it.")
        return
    more = f", and detections from {first:g} on are matched first" if first != start else ""
    notify(f"a track starts at a score of {start:g}{more}: from {_WHERE[level.origin]}; `track_thresh` sets both.")
