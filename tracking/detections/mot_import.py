"""MOTChallenge detections as det-v1."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from gallery_db import atomic_path
from tracking.detections.mot_text import find_mot_sequence, read_mot
from tracking.detections.reader import MAX_COORDINATE, MIN_BOX_SIDE
from tracking.errors import MotTextError, OutputError
from tracking.video.reader import VideoReader

__all__ = ["mot_detections", "write_detections"]


def mot_detections(
    path: str | os.PathLike[str],
    *,
    video: str | os.PathLike[str] | None = None,
    class_name: str = "person",
    class_id: int = 0,
    rescale_scores: bool = False,
) -> dict[str, Any]:
    """A det-v1 document of MOTChallenge detections. Frames count from 1 there and from 0 here.

    Pixel coordinates stay as they are; ids are dropped. Frames without a detection have no entry.

    Args:
        path: A det.txt, or a sequence's folder.
        video: The video that they are of: says its size, speed and length, which are checked. Without it, what
            ``seqinfo.ini`` says is taken over.
        class_name: What all of them are.
        class_id: Its number.
        rescale_scores: Bring scores to [0, 1], from the least to the greatest of the file; some public detectors
            do not score in [0, 1], which det-v1 asks for.

    Raises:
        MotTextError: The file is not that, or a box or a score cannot be used; names the line.
        VideoError: The video cannot be opened.
    """
    sequence = find_mot_sequence(path, "det")
    rows = read_mot(sequence.file, unique_ids=False)
    scores = rows.confidences
    if rescale_scores and len(scores):
        low, high = float(scores.min()), float(scores.max())
        scores = (scores - low) / (high - low) if high > low else np.ones(len(scores))
    corners = rows.xyxy

    def refuse(bad: NDArray[np.bool_], problem: Callable[[int], str], hint: str) -> None:
        if bad.any():
            at = int(np.argmax(bad))
            raise MotTextError(f"{rows.path}, line {rows.lines[at]}: {problem(at)}.", hint=hint)

    refuse(
        rows.ltwh[:, 2:].min(axis=1) < MIN_BOX_SIDE,
        lambda at: f"a box without area, {rows.ltwh[at, 2]:g} x {rows.ltwh[at, 3]:g} pixels",
        "Leave the line out.",
    )
    refuse(
        np.abs(corners).max(axis=1) > MAX_COORDINATE,
        lambda at: f"a box beyond {MAX_COORDINATE:g} pixels",
        "Leave the line out.",
    )
    refuse(
        (scores < 0) | (scores > 1),
        lambda at: f"expected a confidence in 0 to 1, found {scores[at]:g}",
        "Bring all of them there with --rescale-scores.",
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
    last = int(rows.frames.max()) if len(rows) else -1
    if length is not None and last >= length:
        line = rows.lines[int(np.argmax(rows.frames))]
        what = f"{video} has" if video is not None else "its seqinfo.ini says"
        raise MotTextError(
            f"{rows.path}, line {line}: a detection in frame {last + 1} (counted from 1), and {what} {length} frames.",
            hint="Are the detections those of another video?",
        )
    frames: dict[int, list[dict[str, Any]]] = {}
    for row in np.argsort(rows.frames, kind="stable").tolist():
        found = frames.setdefault(int(rows.frames[row]), [])
        found.append(
            {
                # To a millionth of a pixel, so that a sum of decimals is a decimal again.
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


def write_detections(document: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a det-v1 document; the file is whole or not there.

    Raises:
        OutputError: It cannot be written.
    """
    target = Path(path)
    try:
        with atomic_path(target) as part:
            part.write_bytes(orjson.dumps(document) + b"\n")
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}.") from error
