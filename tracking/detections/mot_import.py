"""Convert MOTChallenge detections to det-v1."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.detections.mot_text import find_mot_sequence, read_mot
from tracking.detections.validation import MAX_COORDINATE, MIN_BOX_SIDE
from tracking.errors import MotTextError
from tracking.video.reader import VideoReader

__all__ = ["mot_detections"]


def mot_detections(
    path: str | os.PathLike[str],
    *,
    video: str | os.PathLike[str] | None = None,
    class_name: str = "person",
    class_id: int = 0,
    rescale_scores: bool = False,
) -> dict[str, Any]:
    """Return MOTChallenge detections as a det-v1 document. MOTChallenge counts frames from 1, det-v1 from 0.

    Pixel coordinates are unchanged; ids are dropped. Frames without a detection have no entry.

    Args:
        path: A det.txt, or the folder of a sequence.
        video: The video of the detections. Its size, frame rate and length are written, and the length is checked.
            Without a video, they are taken from ``seqinfo.ini``.
        class_name: Class name of all detections.
        class_id: Class id of all detections.
        rescale_scores: Scale scores linearly from the file's range to [0, 1], for detectors whose scores are not in the
            range that det-v1 requires.

    Raises:
        MotTextError: The file is not MOTChallenge text, or a box or a score cannot be used; names the line.
        VideoError: The video cannot be opened.
    """
    sequence = find_mot_sequence(path, "det")
    rows = read_mot(sequence.file, unique_ids=False)
    scores = rows.confidences
    if rescale_scores and len(scores):
        low, high = float(scores.min()), float(scores.max())
        scores = (scores - low) / (high - low) if high > low else np.ones(len(scores))
    corners = rows.xyxy

    def check(bad: NDArray[np.bool_], problem: Callable[[int], str], hint: str) -> None:
        if bad.any():
            at = int(np.argmax(bad))
            raise MotTextError(f"{rows.path}, line {rows.lines[at]}: {problem(at)}.", hint=hint)

    check(
        rows.ltwh[:, 2:].min(axis=1) < MIN_BOX_SIDE,
        lambda at: f"a box without area, {rows.ltwh[at, 2]:g} x {rows.ltwh[at, 3]:g} pixels",
        "Leave the line out.",
    )
    check(
        np.abs(corners).max(axis=1) > MAX_COORDINATE,
        lambda at: f"a coordinate above {MAX_COORDINATE:g} pixels",
        "Leave the line out.",
    )
    check(
        (scores < 0) | (scores > 1),
        lambda at: f"expected a confidence in 0 to 1, found {scores[at]:g}",
        "Scale all scores to that range with `rescale_scores=True`.",
    )
    header: dict[str, Any] = {"path": None if video is None else str(video)}
    length = sequence.frame_count
    if video is not None:
        with VideoReader(Path(video)) as reader:
            length = reader.frame_count
            header |= {"fps": reader.fps, "frame_count": length, "width": reader.width, "height": reader.height}
    else:
        header |= {
            "fps": sequence.fps,
            "frame_count": length,
            "width": sequence.width,
            "height": sequence.height,
        }
    last_frame = int(rows.frames.max()) if len(rows) else -1
    if length is not None and last_frame >= length:
        line = rows.lines[int(np.argmax(rows.frames))]
        what = f"{video} has" if video is not None else "its seqinfo.ini says"
        raise MotTextError(
            f"{rows.path}, line {line}: a detection in frame {last_frame + 1} (counted from 1), "
            f"but {what} {length} frames.",
            hint="Check that the detections are of this video.",
        )
    frames: dict[int, list[dict[str, Any]]] = {}
    for row in np.argsort(rows.frames, kind="stable").tolist():
        found = frames.setdefault(int(rows.frames[row]), [])
        found.append(
            {
                # Rounded to a millionth of a pixel, so that sums of decimal numbers stay short in JSON.
                "bbox": [round(value, 6) for value in corners[row].tolist()],
                "score": round(float(scores[row]), 9),
                "class_id": class_id,
                "class_name": class_name,
                "det_ind": len(found),
            }
        )
    return {
        "schema_version": "det-v1",
        "video": {key: value for key, value in header.items() if value is not None},
        "detector": {"name": "MOTChallenge detections", "source": rows.path},
        "frames": [{"frame": frame, "detections": found} for frame, found in frames.items()],
    }
