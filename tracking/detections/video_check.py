"""Check that detections and a video belong together."""

from __future__ import annotations

from tracking.detections.base import DetectionFeed
from tracking.detections.validation import as_finite
from tracking.errors import DetectionsError

__all__ = ["check_against_video"]


def check_against_video(
    source: DetectionFeed,
    *,
    width: int,
    height: int,
    frame_count: int | None,
    path: str,
    lenient: bool = False,
) -> list[str]:
    """Check that detections belong to a video, by the facts about the video in det-v1.

    Facts that det-v1 does not state are not checked.

    Args:
        source: The detections.
        width: Width of the opened video's frames, in pixels.
        height: Height, in pixels.
        frame_count: Number of frames of the opened video; None (or 0 and less, as OpenCV reports for streams) if it is
            not known.
        path: Path of the opened video, for messages.
        lenient: Return all disagreements as sentences, instead of raising an error for the first.

    Returns:
        The disagreements; always empty unless lenient.

    Raises:
        DetectionsError: Video and detections disagree in size, or the video is too short.
    """
    name = source.path or "the detections"
    found: list[str] = []
    expected_size = (as_finite(source.video.get("width")), as_finite(source.video.get("height")))
    if any(
        expected is not None and expected > 0 and expected != actual
        for expected, actual in zip(expected_size, (width, height), strict=True)
    ):
        text = " x ".join("?" if value is None else f"{value:g}" for value in expected_size)
        found.append(f"{name} was made from a video of {text} pixels, but {path} has {width} x {height}.")
    if frame_count is not None and frame_count > 0:
        expected_count = as_finite(source.video.get("frame_count"))
        if source.last_frame >= frame_count:
            found.append(
                f"{name} has an entry for frame {source.last_frame}, but {path} has {frame_count} frames "
                f"(the last is {frame_count - 1})."
            )
        elif expected_count is not None and expected_count > frame_count:
            found.append(
                f"{name} was made from a video of {expected_count:g} frames, but {path} has {frame_count}: "
                f"it is another video, or it was truncated."
            )
    if found and not lenient:
        raise DetectionsError(
            found[0], hint="Give the video that the detector ran on, or pass `lenient=True` to use them nevertheless."
        )
    return found
