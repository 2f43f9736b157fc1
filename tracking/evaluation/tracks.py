"""HOTA, CLEAR and Identity of a result, computed by TrackEval from MOTChallenge ground truth.

TrackEval reads, prepares and scores; here files are checked, numbered from 0 and translated. A result is judged by
``track_id`` (each track an object) or by ``gallery_id`` (each identity an object, however many tracks it has). By
``gallery_id``, a box without a name stays a hypothesis: its track stands for it, as a nameless object of its own. Left
out it would cost detection measures that have nothing to do with names. Where a name stands twice in a frame, the
nearer evidence keeps it, and the other box counts as one without a name.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tracking.errors import EvaluationError
from tracking.evaluation.track_table import FrameRange, TrackTable
from tracking.evaluation.truth import Truth

__all__ = ["BENCHMARKS", "By", "TrackScores", "evaluate_tracks", "require_trackeval"]

By = Literal["track_id", "gallery_id"]
BENCHMARKS = ("auto", "MOT15", "MOT16", "MOT17", "MOT20")
_SEQUENCE, _TRACKER = "sequence", "result"


@dataclass(frozen=True, slots=True, eq=False)
class TrackScores:
    """The figures of one way to look at a result.

    Attributes:
        by: What makes a box's object: ``"track_id"`` or ``"gallery_id"``.
        truth: What makes a true box's object: ``"id"`` (an appearance) or ``"person"``.
        benchmark: By whose rules the ground truth was prepared.
        metrics: Metric (``"HOTA"``, ``"CLEAR"``, ``"Identity"``) to TrackEval's figures by their names, as they are:
            ratios in [0, 1] and counts; those of HOTA that there are for each alpha averaged over it.
        printed: The same as TrackEval prints it: percentages to five digits, and counts.
        counts: TrackEval's Dets, GT_Dets, IDs and GT_IDs.
        unnamed: Boxes without a name, by ``gallery_id``; else 0.
        duplicates: Boxes that lost their name to another box of the frame, by ``gallery_id``; else 0.
    """

    by: By
    truth: Literal["id", "person"]
    benchmark: str
    metrics: Mapping[str, Mapping[str, float]]
    printed: Mapping[str, Mapping[str, str]]
    counts: Mapping[str, int]
    unnamed: int
    duplicates: int


def require_trackeval() -> Any:
    """The library, imported.

    Raises:
        EvaluationError: It is not installed.
    """
    if find_spec("trackeval") is None:
        raise EvaluationError("the measures of tracks need TrackEval, which is not installed.", hint=_INSTALL)
    # It reports missing parts of itself on stdout, where results go.
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            return import_module("trackeval")
        except (ImportError, AttributeError) as error:
            raise EvaluationError(f"TrackEval cannot be used: {error}.", hint=_INSTALL) from error


_INSTALL = "Run: pip install 'trackeval>=1.3'"


def evaluate_tracks(
    tracks: TrackTable,
    truth: Truth,
    by: By = "track_id",
    *,
    benchmark: str = "auto",
    frame_range: FrameRange = (None, None),
) -> TrackScores:
    """Score a result with TrackEval.

    Args:
        tracks: The result.
        truth: Ground truth; if it says who is who, people are the objects, else its ids.
        by: What is one object of the result.
        benchmark: Whose rules prepare the ground truth: ``"MOT15"`` (every row of it counts) or ``"MOT16"``,
            ``"MOT17"``, ``"MOT20"`` (only pedestrians count; boxes on distractors are no mistakes). ``"auto"``:
            MOT20 by the sequence's name, else MOT17 where the ground truth has classes, else MOT15.
        frame_range: Only these frames, of both.

    Raises:
        EvaluationError: TrackEval is missing or refuses the data; the result has frames beyond the sequence's end.
    """
    if benchmark not in BENCHMARKS:
        raise EvaluationError(f"expected a benchmark of {', '.join(BENCHMARKS)}, found {benchmark!r}.")
    if by == "track_id" and not tracks.has_tracks:
        raise EvaluationError(f"{tracks.path} has no tracks (tracker gallery_only).", hint="Score it by gallery_id.")
    trackeval = require_trackeval()
    if benchmark == "auto":
        benchmark = "MOT15" if not truth.classed else "MOT20" if truth.name.upper().startswith("MOT20") else "MOT17"
    if benchmark != "MOT15" and not truth.classed:
        raise EvaluationError(
            f"{truth.path} has no classes in its eighth column, as {benchmark} has them.", hint="Use MOT15."
        )
    _check_length(tracks, truth)
    tracks, truth = tracks.between(frame_range), truth.between(frame_range)
    if not len(truth):
        raise EvaluationError(f"{truth.path} has nobody in the frames asked for.", hint="Check the range of frames.")
    first = frame_range[0] or 0
    length = max(_length(tracks, truth, frame_range) - first, 1)
    ids, duplicates = _object_ids(tracks, by)
    true_ids = np.unique(truth.ids, return_inverse=True)[1] + 1
    if truth.persons is not None:
        # Rows that do not count have no person, and still need ids that are unique in their frame.
        true_ids = np.where(truth.persons >= 0, truth.persons + 1, len(truth.people) + true_ids)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _write(
            folder / "gt" / _SEQUENCE / "gt" / "gt.txt",
            truth.frames - first,
            true_ids,
            truth.ltwh,
            zip(truth.marks.tolist(), truth.classes.tolist(), strict=True),
        )
        _write(
            folder / "trackers" / _TRACKER / "data" / f"{_SEQUENCE}.txt",
            tracks.frames - first,
            ids,
            tracks.ltwh,
            ((1, 1) for _ in range(len(tracks))),
        )
        results = _run(trackeval, folder, benchmark, length, tracks.path)
    metrics, printed = {}, {}
    for metric, figures in results.items():
        names = metric.summary_fields
        metrics[metric.get_name()] = {
            name: int(figures[name]) if name in metric.integer_fields else float(np.mean(figures[name]))
            for name in names
        }
        printed[metric.get_name()] = metric.summary_results({"COMBINED_SEQ": figures})
    counts = metrics.pop("Count")
    printed.pop("Count")
    return TrackScores(
        by=by,
        truth="id" if truth.persons is None else "person",
        benchmark=benchmark,
        metrics=metrics,
        printed=printed,
        counts={name: int(value) for name, value in counts.items()},
        unnamed=int((tracks.names < 0).sum()) if by == "gallery_id" else 0,
        duplicates=duplicates,
    )


def _check_length(tracks: TrackTable, truth: Truth) -> None:
    """A result longer than the sequence belongs to another one."""
    if truth.frame_count is not None and len(tracks) and int(tracks.frames.max()) >= truth.frame_count:
        raise EvaluationError(
            f"{tracks.path} has a box in frame {int(tracks.frames.max())}, and {truth.name} has {truth.frame_count} "
            f"frames (the last is {truth.frame_count - 1}).",
            hint="Frames count from 0 in track-v1 and from 1 in MOTChallenge text. Is it another video?",
        )


def _length(tracks: TrackTable, truth: Truth, frame_range: FrameRange) -> int:
    """The number of the frame behind the last one."""
    last = [int(frames.max()) + 1 for frames in (tracks.frames, truth.frames) if len(frames)]
    ends = [truth.frame_count] if truth.frame_count is not None else last
    length = max(ends)
    return length if frame_range[1] is None else min(length, frame_range[1])


def _object_ids(tracks: TrackTable, by: By) -> tuple[NDArray[np.int64], int]:
    """One number an object, from 1; and how many boxes lost their name to another box of the frame."""
    order = sorted(range(len(tracks.track_ids)), key=lambda code: _natural(tracks.track_ids[code]))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(1, len(order) + 1)
    by_track = place[tracks.tracks] if len(tracks) else np.empty(0, np.int64)
    if by == "track_id":
        return by_track, 0
    named = tracks.names >= 0
    distances = np.where(np.isnan(tracks.distances), np.inf, tracks.distances)
    kept = named.copy()
    seen: set[tuple[int, int]] = set()
    for row in np.lexsort((-tracks.scores, distances)).tolist():
        key = (int(tracks.frames[row]), int(tracks.names[row]))
        if named[row] and key in seen:
            kept[row] = False
        seen.add(key)
    lost = int((named & ~kept).sum())
    if not tracks.has_tracks:
        # Nothing joins the nameless boxes of gallery_only: each is an object of its own.
        by_track = np.arange(1, len(tracks) + 1)
    return np.where(kept, tracks.names + 1, len(tracks.gallery_ids) + by_track), lost


def _natural(track_id: str) -> tuple[int, int, str]:
    """Numbers by value and before words, so that ids keep the order that they have in MOTChallenge text."""
    try:
        return 0, int(track_id), ""
    except ValueError:
        return 1, 0, track_id


def _write(
    file: Path,
    frames: NDArray[np.int64],
    ids: NDArray[np.int64],
    ltwh: NDArray[np.float64],
    rest: Iterable[tuple[int, int]],
) -> None:
    """MOTChallenge text; every float is written so that it is read back as it was."""
    file.parent.mkdir(parents=True)
    with file.open("w", encoding="ascii") as stream:
        for frame, id_, box, (mark, class_id) in zip(frames.tolist(), ids.tolist(), ltwh.tolist(), rest, strict=True):
            stream.write(f"{frame + 1},{id_},{','.join(map(repr, box))},{mark},{class_id},1\n")


def _run(trackeval: Any, folder: Path, benchmark: str, length: int, result: str) -> dict[Any, dict[str, Any]]:
    """Metric object to its figures, by TrackEval's own dataset loader and metric classes."""
    settings = {"THRESHOLD": 0.5, "PRINT_CONFIG": False}
    metrics = [
        trackeval.metrics.HOTA(),
        trackeval.metrics.CLEAR(dict(settings)),
        trackeval.metrics.Identity(dict(settings)),
        trackeval.metrics.Count(),
    ]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            dataset = trackeval.datasets.MotChallenge2DBox(
                {
                    "GT_FOLDER": str(folder / "gt"),
                    "TRACKERS_FOLDER": str(folder / "trackers"),
                    "TRACKERS_TO_EVAL": [_TRACKER],
                    "BENCHMARK": benchmark,
                    "SEQ_INFO": {_SEQUENCE: length},
                    "SKIP_SPLIT_FOL": True,
                    "PRINT_CONFIG": False,
                }
            )
            raw = dataset.get_raw_seq_data(_TRACKER, _SEQUENCE)
            data = dataset.get_preprocessed_seq_data(raw, "pedestrian")
            # Combined over the one sequence, as its own command does before it prints.
            return {m: m.combine_sequences({_SEQUENCE: m.eval_sequence(data)}) for m in metrics}
    except trackeval.utils.TrackEvalException as error:
        raise EvaluationError(f"TrackEval refuses {result}: {error}") from error
