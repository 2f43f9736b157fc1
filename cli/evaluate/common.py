"""What `gtrack eval tracks` and `gtrack eval identity` share: options, and reading a result with its ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import say

if TYPE_CHECKING:
    from tracking.evaluation import TrackTable, Truth
    from tracking.evaluation.track_table import FrameRange

__all__ = ["ClassName", "People", "Range", "Result", "TruthPath", "read_result_and_truth"]

Result = Annotated[
    Path, typer.Argument(help="tracked.json of gtrack run --save-json (track-v1), or MOTChallenge text.")
]
TruthPath = Annotated[
    Path,
    typer.Option(
        "--truth",
        help="MOTChallenge ground truth (gt.txt, or a sequence's folder), or the truth.json of gtrack demo.",
    ),
]
People = Annotated[
    Path | None,
    typer.Option(
        "--people",
        help="A CSV file with the columns gt_id and person: the person that each id shows. Several "
        "ids may show one person.",
    ),
]
Range = Annotated[
    str | None,
    typer.Option(
        "--range",
        metavar="A:B",
        help="Only the frames from A up to, but not including, B, counted from 0. A or B may be omitted.",
    ),
]
ClassName = Annotated[
    str, typer.Option("--class-name", help="Evaluate only boxes of this class, and boxes without a class.")
]


def read_result_and_truth(
    result: Path, truth: Path, people: Path | None, frame_range: str | None, class_name: str
) -> tuple[TrackTable, Truth, FrameRange]:
    """Read the result and the ground truth, check that they fit, and report what is left out."""
    from tracking.errors import EvaluationError, OptionError
    from tracking.evaluation import read_track_table, read_truth
    from tracking.options import parse_range

    frames = parse_range(frame_range)
    if frames[1] is not None and frames[1] <= (frames[0] or 0):
        raise OptionError(f"expected --range A:B with 0 <= A < B, found {frame_range}.")
    real = read_truth(truth, people)
    table = read_track_table(result, class_name=class_name)
    if table.other_classes:
        others = ", ".join(f"{count} of class {name}" for name, count in sorted(table.other_classes.items()))
        if not len(table):
            raise EvaluationError(
                f"{result} has no tracked box of class {class_name!r}, but {others}.",
                hint="Give the class with --class-name.",
            )
        say(f"boxes that are not evaluated: {others} in {result}.")
    inside = real.between(frames)
    if table.covered is not None and len(inside):
        first, last = int(inside.frames.min()), int(inside.frames.max())
        if table.covered[0] > first or table.covered[1] < last:
            say(
                f"{result} covers frames {table.covered[0]} to {table.covered[1]}, and the ground truth {first} to "
                f"{last}. Frames outside count as missed; --range {table.covered[0]}:{table.covered[1] + 1} leaves "
                "them out."
            )
    return table, real, frames
