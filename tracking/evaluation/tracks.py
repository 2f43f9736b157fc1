"""HOTA, CLEAR and Identity of a result, computed by TrackEval from MOTChallenge ground truth.

TrackEval reads, prepares and scores; this module checks the data and writes it for TrackEval. A result is scored by
``track_id`` (each track is an object) or by ``gallery_id`` (each identity is an object, however many tracks it has). By
``gallery_id``, a box without a name belongs to the object of its track. If such boxes were left out, detection metrics
would fall for reasons that have nothing to do with names. If two boxes of a frame have the same name, the box with the
smaller distance keeps it, and the other one counts as a box without a name.
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
from tracking.results.formatting import natural_key

__all__ = ["BENCHMARKS", "By", "TrackScores", "evaluate_tracks", "require_trackeval"]

By = Literal["track_id", "gallery_id"]
BENCHMARKS = ("auto", "MOT15", "MOT16", "MOT17", "MOT20")
_SEQUENCE, _TRACKER = "sequence", "result"


@dataclass(frozen=True, slots=True, eq=False)
class TrackScores:
    """TrackEval's figures of a result.

    Attributes:
        by: The objects of the result: ``"track_id"`` or ``"gallery_id"``.
        truth: The objects of the ground truth: ``"id"`` or ``"person"``.
        benchmark: The benchmark whose rules prepared the ground truth.
        metrics: Metric (``"HOTA"``, ``"CLEAR"``, ``"Identity"``) to TrackEval's figures by name: ratios in [0, 1] and
            counts. HOTA's figures are averaged over alpha.
        counts: TrackEval's Dets, GT_Dets, IDs and GT_IDs.
        unnamed: Number of boxes without a name, by ``gallery_id``; else 0.
        duplicates: Number of boxes that lost their name to another box of the frame, by ``gallery_id``; else 0.
    """

    by: By
    truth: Literal["id", "person"]
    benchmark: str
    metrics: Mapping[str, Mapping[str, float]]
    counts: Mapping[str, int]
    unnamed: int
    duplicates: int


def require_trackeval() -> Any:
    """Import TrackEval and return it.

    Raises:
        EvaluationError: It is not installed.
    """
    if find_spec("trackeval") is None:
        raise EvaluationError("the metrics of tracks need TrackEval, which is not installed.", hint=_INSTALL)
    # It prints its missing optional parts to stdout, which is for results.
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
        tracks: The tracked boxes.
        truth: The ground truth. If it names the person of each id, its objects are people, else its ids.
        by: The objects of the result.
        benchmark: The rules that prepare the ground truth: ``"MOT15"`` (every row counts) or ``"MOT16"``, ``"MOT17"``,
            ``"MOT20"`` (only pedestrians count; boxes on distractors are no errors). ``"auto"``: MOT20 by the
            sequence's name, else MOT17 where the ground truth has classes, else MOT15.
        frame_range: Score only these frames.

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
            f"{truth.path} has no classes in its eighth column, which {benchmark} needs.", hint="Use MOT15."
        )
    _check_length(tracks, truth)
    tracks, truth = tracks.between(frame_range), truth.between(frame_range)
    if not len(truth):
        raise EvaluationError(f"{truth.path} has no person in the given frames.", hint="Check the range of frames.")
    first = frame_range[0] or 0
    length = max(_length(tracks, truth, frame_range) - first, 1)
    ids, duplicates = _object_ids(tracks, by)
    true_ids = np.unique(truth.ids, return_inverse=True)[1] + 1
    if truth.persons is not None:
        # Rows that do not count have no person, but they need ids that are unique in their frame.
        true_ids = np.where(truth.persons >= 0, truth.persons + 1, len(truth.people) + true_ids)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
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
    metrics = {}
    for metric, figures in results.items():
        names = metric.summary_fields
        metrics[metric.get_name()] = {
            name: int(figures[name]) if name in metric.integer_fields else float(np.mean(figures[name]))
            for name in names
        }
    counts = metrics.pop("Count")
    return TrackScores(
        by=by,
        truth="id" if truth.persons is None else "person",
        benchmark=benchmark,
        metrics=metrics,
        counts={name: int(value) for name, value in counts.items()},
        unnamed=int((tracks.names < 0).sum()) if by == "gallery_id" else 0,
        duplicates=duplicates,
    )


def _check_length(tracks: TrackTable, truth: Truth) -> None:
    """Raise an error if the result is longer than the sequence: then it belongs to another one."""
    if truth.frame_count is not None and len(tracks) and int(tracks.frames.max()) >= truth.frame_count:
        raise EvaluationError(
            f"{tracks.path} has a box in frame {int(tracks.frames.max())}, and {truth.name} has {truth.frame_count} "
            f"frames (the last is {truth.frame_count - 1}).",
            hint="Give the result of the same video. Frames count from 0 in track-v1, and from 1 in MOTChallenge text.",
        )


def _length(tracks: TrackTable, truth: Truth, frame_range: FrameRange) -> int:
    """Return the number of the frame after the last one."""
    last = [int(frames.max()) + 1 for frames in (tracks.frames, truth.frames) if len(frames)]
    ends = [truth.frame_count] if truth.frame_count is not None else last
    length = max(ends)
    return length if frame_range[1] is None else min(length, frame_range[1])


def _object_ids(tracks: TrackTable, by: By) -> tuple[NDArray[np.int64], int]:
    """Return the number of each box's object, from 1; and how many boxes lost their name to another box of the frame.

    Tracks are numbered in their natural order, so that ids keep the order that they have in MOTChallenge text.
    """
    order = sorted(range(len(tracks.track_ids)), key=lambda code: natural_key(tracks.track_ids[code]))
    number_of_code = np.empty(len(order), np.int64)
    number_of_code[order] = np.arange(1, len(order) + 1)
    by_track = number_of_code[tracks.tracks] if len(tracks) else np.empty(0, np.int64)
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
        # With gallery_only, no track connects the boxes without a name: each is an object of its own.
        by_track = np.arange(1, len(tracks) + 1)
    return np.where(kept, tracks.names + 1, len(tracks.gallery_ids) + by_track), lost


def _write(
    file: Path,
    frames: NDArray[np.int64],
    ids: NDArray[np.int64],
    ltwh: NDArray[np.float64],
    rest: Iterable[tuple[int, int]],
) -> None:
    """Write MOTChallenge text; every float is written in full precision."""
    file.parent.mkdir(parents=True)
    with file.open("w", encoding="ascii") as stream:
        for frame, id_, box, (mark, class_id) in zip(frames.tolist(), ids.tolist(), ltwh.tolist(), rest, strict=True):
            stream.write(f"{frame + 1},{id_},{','.join(map(repr, box))},{mark},{class_id},1\n")


def _run(trackeval: Any, folder: Path, benchmark: str, length: int, result: str) -> dict[Any, dict[str, Any]]:
    """Run TrackEval's own dataset loader and metrics; return each metric object with its figures."""
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
            # Combined over the one sequence, as TrackEval's own command does before it prints.
            return {m: m.combine_sequences({_SEQUENCE: m.eval_sequence(data)}) for m in metrics}
    except trackeval.utils.TrackEvalException as error:
        raise EvaluationError(f"TrackEval refuses {result}: {error}") from error
