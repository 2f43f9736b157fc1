"""`gtrack eval tracks`: HOTA, CLEAR and Identity of tracks."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.evaluate.common import ClassName, People, Range, Result, TruthPath, read_result_and_truth
from cli.options import AsJson
from cli.output import print_json_lines, print_line, print_table, print_text, say

if TYPE_CHECKING:
    from tracking.evaluation import TrackScores, Truth

__all__ = ["tracks"]


class _By(str, Enum):
    track_id = "track_id"
    gallery_id = "gallery_id"


class _Benchmark(str, Enum):
    auto = "auto"
    mot15 = "MOT15"
    mot16 = "MOT16"
    mot17 = "MOT17"
    mot20 = "MOT20"


def tracks(
    result: Result,
    truth: TruthPath,
    by: Annotated[
        _By | None,
        typer.Option("--by", help="The objects of the result. Default: both, if the result has names."),
    ] = None,
    people: People = None,
    frame_range: Range = None,
    benchmark: Annotated[
        _Benchmark,
        typer.Option(
            "--benchmark",
            metavar="NAME",
            help="The rules that prepare the ground truth: MOT15, MOT16, MOT17, MOT20 or auto. auto: those "
            "of MOT17 if it has classes (of MOT20 by the sequence's name), else those of MOT15.",
        ),
    ] = _Benchmark.auto,
    class_name: ClassName = "person",
    as_json: AsJson = False,
) -> None:
    """Compute HOTA, CLEAR and Identity (IDF1) of tracks with TrackEval.

    Example: gtrack eval tracks out/clip/tracked.json --truth MOT15/train/PETS09-S2L1

    The tables have TrackEval's own figures; --json has them in full, as ratios. With --people, the objects of
    the ground truth are people over the whole video, instead of its ids. With --by gallery_id, the boxes of a track
    without a name form an object of their own.
    """
    from tracking.errors import EvaluationError
    from tracking.evaluation import evaluate_tracks
    from tracking.evaluation.tracks import require_trackeval

    require_trackeval()
    table, real, frames = read_result_and_truth(result, truth, people, frame_range, class_name)
    if by is None:
        wanted = [*([_By.track_id] if table.has_tracks else []), *([_By.gallery_id] if table.has_names else [])]
    else:
        wanted = [by]
    if by is _By.gallery_id and not table.has_names:
        raise EvaluationError(f"{result} has no names.", hint="Use --by track_id.")
    if not wanted:
        raise EvaluationError(f"{result} has neither tracks nor names.")
    scores = [
        evaluate_tracks(table, real, kind.value, benchmark=benchmark.value, frame_range=frames) for kind in wanted
    ]
    for score in scores:
        if score.duplicates:
            say(f"by gallery_id: {score.duplicates} boxes count as unnamed: another box of the frame has their name.")
    if as_json:
        print_json_lines(_tracks_json(score, result, real) for score in scores)
    else:
        _print_tracks(scores, real)


def _tracks_json(score: TrackScores, result: Path, truth: Truth) -> dict[str, Any]:
    return {
        "result": str(result),
        "truth": truth.path,
        "by": score.by,
        "truth_by": score.truth,
        "benchmark": score.benchmark,
        **{name: value for figures in score.metrics.values() for name, value in figures.items()},
        **score.counts,
        "unnamed": score.unnamed,
        "duplicates": score.duplicates,
    }


def _print_tracks(scores: list[TrackScores], truth: Truth) -> None:
    objects = {"id": "the ids of the ground truth", "person": "people"}[scores[0].truth]
    print_text(f"Tracks compared with {truth.name} (objects: {objects}; rules of {scores[0].benchmark})")
    for score in scores:
        print_text(_headline(score))
    print_line()
    ratios, counts = [], []
    for metric, figures in scores[0].metrics.items():
        for name, value in figures.items():
            found = [score.metrics[metric][name] for score in scores]
            if isinstance(value, int):
                counts.append((metric, name, *found))
            else:
                ratios.append((metric, name, *(f"{100 * one:.2f}" for one in found)))
    counts += [("Count", name, *(score.counts[name] for score in scores)) for name in scores[0].counts]
    columns = ["metric", "figure", *(f"by {score.by}" for score in scores)]
    print_table("In percent", columns, ratios)
    print_table("Numbers", columns, counts)


def _headline(score: TrackScores) -> str:
    """Return what the figures say, in a sentence."""
    clear, counts = score.metrics["CLEAR"], score.counts
    switches = int(clear["IDSW"])
    return (
        f"By {score.by}: HOTA {100 * score.metrics['HOTA']['HOTA']:.1f}, MOTA {100 * clear['MOTA']:.1f}, "
        f"IDF1 {100 * score.metrics['Identity']['IDF1']:.1f}: of {counts['GT_Dets']} true boxes "
        f"{clear['CLR_Re']:.1%} are found, of {counts['Dets']} boxes of the result {1 - clear['CLR_Pr']:.1%} are "
        f"wrong, and an object changes its id {switches} {'time' if switches == 1 else 'times'}."
    )
