"""`gtrack eval`: how good tracks, names and embeddings are, against a truth."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from cli.gallery.commands import Collection, bar
from cli.options import Device, Download, Half, ModelsDir, NoProgress, ReidWeights, Runtime, Threads
from cli.output import print_json_lines, print_table, say

if TYPE_CHECKING:
    from tracking.evaluation import IdentityReport, ReidReport, TrackScores, TrackTable, Truth
    from tracking.evaluation.track_table import FrameRange

__all__ = ["app", "identity", "reid", "tracks"]

app = typer.Typer(help="How good tracks, names and embeddings are, against a truth.", no_args_is_help=True)

Result = Annotated[
    Path, typer.Argument(help="tracked.json (track-v1, of gtrack run --json), or MOTChallenge text for tracks.")
]
TruthPath = Annotated[
    Path,
    typer.Option(
        "--truth",
        help="MOTChallenge ground truth (gt.txt, or a sequence's folder), or the truth.json of gtrack demo.",
    ),
]
People = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--people", help="Who is who: CSV with the columns gt_id and person; several ids may be one person."),
]
Range = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--range", metavar="A:B", help="Only frames A up to, not including, B, counted from 0."),
]
ClassName = Annotated[
    str, typer.Option("--class-name", help="Boxes of another class are left out; those without a class count.")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout, one object a line.")]


class _By(str, Enum):
    track_id = "track_id"
    gallery_id = "gallery_id"


class _Benchmark(str, Enum):
    auto = "auto"
    mot15 = "MOT15"
    mot16 = "MOT16"
    mot17 = "MOT17"
    mot20 = "MOT20"


def _read(
    result: Path, truth: Path, people: Path | None, frame_range: str | None, class_name: str
) -> tuple[TrackTable, Truth, FrameRange]:
    """Both sides, checked, and said what was left out."""
    from tracking.errors import EvaluationError, OptionError
    from tracking.evaluation import read_track_table, read_truth
    from tracking.options import parse_range

    frames = parse_range(frame_range)
    if frames[1] is not None and frames[1] <= (frames[0] or 0):
        raise OptionError(f"--range needs 0 <= A < B, got {frame_range}.")
    real = read_truth(truth, people)
    table = read_track_table(result, class_name=class_name)
    if table.other_classes:
        others = ", ".join(f"{count} of class {name}" for name, count in sorted(table.other_classes.items()))
        if not len(table):
            raise EvaluationError(
                f"{result} has no tracked box of class {class_name!r}, but {others}.", hint="Choose with --class-name."
            )
        say(f"left out of {result}: {others}")
    inside = real.between(frames)
    if table.covered is not None and len(inside):
        first, last = int(inside.frames.min()), int(inside.frames.max())
        if table.covered[0] > first or table.covered[1] < last:
            say(
                f"{result} covers frames {table.covered[0]} to {table.covered[1]}, and the truth {first} to {last}; "
                f"what lies outside counts as missed (--range {table.covered[0]}:{table.covered[1] + 1} leaves it out)"
            )
    return table, real, frames


@app.command()
def tracks(
    result: Result,
    truth: TruthPath,
    by: Annotated[
        Optional[_By],  # noqa: UP045
        typer.Option("--by", help="What is one object of the result. Default: both, where there are names."),
    ] = None,
    people: People = None,
    frame_range: Range = None,
    benchmark: Annotated[
        _Benchmark,
        typer.Option(
            "--benchmark",
            help="Whose rules prepare the ground truth. auto: MOT17's where it has classes (MOT20's by the sequence's "
            "name), else MOT15's.",
        ),
    ] = _Benchmark.auto,
    class_name: ClassName = "person",
    as_json: AsJson = False,
) -> None:
    """HOTA, CLEAR and Identity (IDF1) of tracks, computed by TrackEval.

    Example: gtrack eval tracks out/clip/tracked.json --truth MOT15/train/PETS09-S2L1

    The table has TrackEval's own figures, in percent as it prints them; --json has them in full, as ratios. With
    --people the objects of the truth are people, over the whole video, and no longer their single appearances. By
    gallery_id, boxes without a name count as objects of their own, a track each.
    """
    from tracking.errors import EvaluationError
    from tracking.evaluation import evaluate_tracks
    from tracking.evaluation.tracks import require_trackeval

    require_trackeval()
    table, real, frames = _read(result, truth, people, frame_range, class_name)
    if by is None:
        wanted = [*([_By.track_id] if table.has_tracks else []), *([_By.gallery_id] if table.has_names else [])]
    else:
        wanted = [by]
    if by is _By.gallery_id and not table.has_names:
        raise EvaluationError(f"{result} names nobody.", hint="Score it by track_id.")
    if not wanted:
        raise EvaluationError(f"{result} has neither tracks nor names.")
    scores = [
        evaluate_tracks(table, real, kind.value, benchmark=benchmark.value, frame_range=frames) for kind in wanted
    ]
    for score in scores:
        if score.duplicates:
            say(f"by gallery_id: {score.duplicates} boxes share their name with another of the frame: counted nameless")
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
    objects = {"id": "the truth's ids", "person": "people"}[scores[0].truth]
    rows: list[tuple[str, ...]] = []
    for metric, figures in scores[0].printed.items():
        rows += [(metric, name, *(score.printed[metric][name] for score in scores)) for name in figures]
    rows += [("Count", name, *(str(score.counts[name]) for score in scores)) for name in scores[0].counts]
    print_table(
        f"Against {truth.name}, {scores[0].benchmark} rules; {objects} as objects",
        ["metric", "figure", *(f"by {score.by}" for score in scores)],
        rows,
    )


@app.command()
def identity(
    result: Result,
    truth: TruthPath,
    people: People = None,
    known: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--known",
            metavar="NAME,...",
            help="Whom the gallery knew when the run began; '' for nobody. The others are strangers.",
        ),
    ] = None,
    gallery: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--gallery", "-g", help="In place of --known: the gallery (or the folder of image folders) of the run."
        ),
    ] = None,
    frame_range: Range = None,
    class_name: ClassName = "person",
    plot: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--plot", metavar="FILE.png", help="Also draw who was named how and when, and the curve."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """How rightly people are named over a video, strangers among them.

    Example: gtrack eval identity tracked.json --truth PETS09-S2L1 --people people.csv --gallery gallery

    Counts person-frames: named right, wrong, left unnamed; strangers named by mistake; name changes, names that stand
    twice in a frame, frames until the first right name. Ids that enrolment gives (unknown-0007) are right for the one
    stranger whose they mostly are. The thresholds of the curve only take names of this run off: for a higher
    threshold, or to see who would be named instead, run again.
    """
    from tracking.errors import OptionError
    from tracking.evaluation import evaluate_identity, plot_identity

    if known is not None and gallery is not None:
        raise OptionError("--known and --gallery say the same thing; give one of them.")
    table, real, frames = _read(result, truth, people, frame_range, class_name)
    who = _known(known, gallery, real)
    report = evaluate_identity(table, real, who, frame_range=frames)
    if plot is not None:
        plot_identity(report, plot, title=f"{result} against {real.name}")
    if as_json:
        print_json_lines([_identity_json(report, result, real)])
    else:
        _print_identity(report, real)
    if plot is not None:
        say(f"plot: {plot}")


def _known(known: str | None, gallery: Path | None, truth: Truth) -> frozenset[str] | None:
    """The names whom the gallery knew; None for what the truth says itself."""
    from gallery_db import Gallery, GalleryNotFoundError, is_gallery
    from tracking.enrolment.base import is_unknown
    from tracking.errors import OptionError

    if truth.persons is None:
        raise OptionError(
            f"{truth.path} does not say who is who.", hint="Give a CSV file of gt_id,person with --people."
        )
    if known is not None:
        names = {name.strip() for name in known.split(",")} - {""}
        strange = sorted(names - set(truth.people))
        if strange:
            raise OptionError(
                f"--known {', '.join(strange)}: not among the people of the truth, who are "
                f"{', '.join(sorted(truth.people))}."
            )
        return frozenset(names)
    if gallery is None:
        if truth.known is None:
            raise OptionError(
                "whom did the gallery know?", hint="Give --gallery, or their names with --known ('' for nobody)."
            )
        return None
    if is_gallery(gallery):
        with Gallery.open(gallery) as opened:
            names = {entry.identity for entry in opened.identities()}
    elif gallery.is_dir():
        names = {folder.name for folder in gallery.iterdir() if folder.is_dir()}
    else:
        raise GalleryNotFoundError(f"gallery {gallery} does not exist.", hint="Give the gallery of the run.")
    if not names & set(truth.people):
        named = sorted(name for name in names if not is_unknown(name))
        but = f", but {', '.join(named[:5])}" if named else ""
        people = ", ".join(truth.people[:5]) + (", ..." if len(truth.people) > 5 else "")
        say(f"{gallery} knows none of the people of the truth ({people}){but}: all of them count as strangers")
    return frozenset(names)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def _identity_json(report: IdentityReport, result: Path, truth: Truth) -> dict[str, Any]:
    known, strangers = report.known, report.strangers

    def group(people: tuple[Any, ...]) -> dict[str, Any]:
        covered, sight = sum(p.frames for p in people), sum(p.in_sight for p in people)
        counts = {name: sum(getattr(p, name) for p in people) for name in ("right", "wrong", "unnamed", "by_name")}
        return {
            "people": len(people),
            "in_sight": sight,
            "covered": covered,
            "shared": sum(p.shared for p in people),
            **counts,
            "of_covered": {name: _share(count, covered) for name, count in counts.items()},
            "of_in_sight": {name: _share(count, sight) for name, count in counts.items()},
        }

    def seconds(frames: int | None) -> float | None:
        return None if frames is None or not report.fps else round(frames / report.fps, 3)

    return {
        "result": str(result),
        "truth": truth.path,
        "frames": list(report.frames),
        "fps": report.fps,
        "known": group(known),
        "strangers": group(strangers),
        "name_changes": None if report.name_changes is None else len(report.name_changes),
        "duplicates": len(report.duplicates),
        "named_elsewhere": report.named_elsewhere,
        "people": [
            {
                "name": p.name,
                "known": p.known,
                "in_sight": p.in_sight,
                "covered": p.frames,
                "shared": p.shared,
                "right": p.right,
                "wrong": p.wrong,
                "unnamed": p.unnamed,
                "by_name": p.by_name,
                "called": dict(p.called.most_common()),
            }
            for p in report.people
        ],
        "appearances": [
            {
                "person": a.person,
                "known": a.known,
                "id": a.number,
                "first": a.first,
                "last": a.last,
                "covered": a.covered,
                "named": a.named,
                "wait_frames": a.wait,
                "wait_seconds": seconds(a.wait),
                "wait_frames_covered": a.wait_covered,
                "wait_seconds_covered": seconds(a.wait_covered),
            }
            for a in report.appearances
        ],
        "changes": [
            {
                "track_id": c.track_id,
                "frame": c.frame,
                "before": c.before,
                "after": c.after,
                "swapped": c.swapped,
            }
            for c in report.name_changes or ()
        ],
        "duplicate_names": [{"frame": d.frame, "name": d.name, "times": d.times} for d in report.duplicates],
        "lasting_ids": dict(report.owners),
        "curve": [
            {
                "threshold": point.threshold,
                "named": point.named,
                "right": point.right,
                "precision": point.precision,
                "recall": point.recall,
                "strangers_named": point.strangers_named,
            }
            for point in report.curve
        ],
        "curve_note": report.curve_note,
    }


def _print_identity(report: IdentityReport, truth: Truth) -> None:
    print_table(
        f"Person-frames, against {truth.name}, frames {report.frames[0]} to {report.frames[1]}",
        ["person", "known", "in sight", "covered", "right", "wrong", "unnamed", "called"],
        [
            (
                p.name,
                "yes" if p.known else "no",
                p.in_sight,
                p.frames,
                p.right,
                p.wrong,
                p.unnamed,
                ", ".join(f"{name} x {count}" for name, count in p.called.most_common(3)) or "-",
            )
            for p in report.people
        ],
    )
    rows = []
    for title, group in (("known people", report.known), ("strangers", report.strangers)):
        if not group:
            continue
        for of, whole in (
            ("that a track covers", sum(p.frames for p in group)),
            ("in sight", sum(p.in_sight for p in group)),
        ):
            counts = [sum(getattr(p, name) for p in group) for name in ("right", "wrong", "unnamed")]
            rows.append((title, f"{whole} {of}", *(_percent(count, whole) for count in counts)))
    print_table(None, ["of", "person-frames", "right", "wrong", "unnamed"], rows)
    shared = sum(p.shared for p in report.people)
    if shared:
        print(f"not covered, as the box they are in is somebody else's: {shared} person-frames")
    _print_appearances(report)
    covered = sum(p.frames for p in report.strangers)
    named = sum(p.by_name for p in report.strangers)
    print(f"strangers named by mistake: {named} of {covered} person-frames ({_percent(named, covered)})")
    if report.owners:
        owners = ", ".join(f"{name} = {owner or 'nobody'}" for name, owner in sorted(report.owners.items()))
        print(f"lasting ids:                {owners}")
    if report.name_changes is None:
        print("name changes in a track:    - (no tracks)")
    else:
        first = ", ".join(f"track {c.track_id} in frame {c.frame}" for c in report.name_changes[:3])
        print(f"name changes in a track:    {len(report.name_changes)}{f' ({first})' if first else ''}")
        swapped = sum(change.swapped for change in report.name_changes)
        if swapped:
            print(f"  with the person:          {swapped}, where the track itself had gone over to somebody else")
    print(f"names twice in a frame:     {len(report.duplicates)}")
    print(f"named boxes over nobody:    {report.named_elsewhere}")
    _print_wait(report)
    _print_curve(report)


def _print_appearances(report: IdentityReport) -> None:
    if not report.known:
        return

    def when(frame: int | None) -> str:
        return "-" if frame is None else str(frame)

    print_table(
        "Known people: frames until the first right name",
        ["person", "id", "in sight from", "to", "covered from", "named from", "wait", "of that covered"],
        [
            (a.person, a.number, a.first, a.last, when(a.covered), when(a.named), when(a.wait), when(a.wait_covered))
            for a in report.appearances
            if a.known
        ],
    )


def _print_wait(report: IdentityReport) -> None:
    from statistics import median

    waits, total = report.waits(), sum(a.known for a in report.appearances)
    if not total:
        return
    if not waits:
        print(f"first right name:           never, of {total} appearances")
        return
    covered = report.waits(covered=True)
    clock = f" ({median(waits) / report.fps:.1f} s)" if report.fps else ""
    print(
        f"first right name:           after {median(waits):g} frames{clock} in the median, {waits[-1]} at most; from "
        f"the first frame that a track covers {median(covered):g} and {covered[-1]}; "
        f"{total - len(waits)} of {total} appearances never"
    )


def _print_curve(report: IdentityReport) -> None:
    if not report.curve:
        print(f"over thresholds:            {report.curve_note}")
        return
    strangers = sum(p.frames for p in report.strangers)
    print(f"over thresholds:            {report.curve_note}")
    # A dozen lines say it; --json and --plot have all of them.
    step = -(-len(report.curve) // 12)
    points = report.curve[::-1][::step][::-1]
    print_table(
        "Over thresholds",
        ["threshold", "precision", "recall", "strangers named"],
        [
            (
                f"{point.threshold:.3f}",
                f"{point.precision:.3f}",
                f"{point.recall:.3f}",
                _percent(point.strangers_named, strangers),
            )
            for point in points
        ],
    )


@app.command()
def reid(
    target: Annotated[
        Path,
        typer.Argument(
            metavar="GALLERY|FOLDER",
            help="A gallery; or images: with Market-1501's names, flat or in query/ and bounding_box_test/, or one "
            "sub-folder an identity.",
        ),
    ],
    queries: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--queries",
            help="A folder of images to ask for. Default: query/, else the first image of each identity and camera.",
        ),
    ] = None,
    collection: Collection = None,
    reid_weights: ReidWeights = None,
    models_dir: ModelsDir = Path("models"),
    device: Device = "auto",
    half: Half = False,
    runtime: Runtime = "auto",
    threads: Threads = None,
    download: Download = False,
    as_json: AsJson = False,
    no_progress: NoProgress = False,
) -> None:
    """Rank-k, mAP and mINP by Market-1501's protocol, through the gallery's index (HNSW) and exactly.

    Example: gtrack eval reid Market-1501-v15.09.15 --reid-weights osnet_x0_25_msmt17.onnx

    Images of the query's person from the query's camera are ignored, as are junk images (-1); distractors (0000) are
    never right. A gallery without --queries needs no model: its own entries are asked for.
    """
    from tracking.evaluation import evaluate_reid
    from tracking.identification.gallery_source import EmbedderOptions

    options = EmbedderOptions(reid_weights, models_dir, device, half, runtime, threads, download)
    with (
        bar("embedding", "images", no_progress) as progress,
        bar("asking", "queries", no_progress) as search_progress,
    ):
        report = evaluate_reid(
            target,
            options,
            queries=queries,
            collection=collection,
            notify=say,
            progress=progress,
            search_progress=search_progress,
        )
    for path, reason in report.skipped:
        say(f"not used: {path} ({reason})")
    if as_json:
        print_json_lines(_reid_json(report, target))
    else:
        _print_reid(report, target)


def _reid_json(report: ReidReport, target: Path) -> list[dict[str, Any]]:
    return [
        {
            "target": str(target),
            "model": report.model,
            "search": search,
            **{f"rank-{k}": value for k, value in scores.ranks.items()},
            "mAP": scores.mean_ap,
            "mINP": scores.mean_inp,
            "queries": scores.queries,
            "unanswerable": report.unanswerable,
            "entries": report.entries,
            "identities": report.identities,
            "cameras": report.cameras,
            "distractors": report.distractors,
            "ignored": report.ignored,
            "skipped": len(report.skipped),
        }
        for search, scores in report.scores.items()
    ]


def _print_reid(report: ReidReport, target: Path) -> None:
    ranks = list(next(iter(report.scores.values())).ranks)
    print_table(
        f"{target}, model {report.model} (percent)",
        ["search", *(f"rank-{k}" for k in ranks), "mAP", "mINP"],
        [
            (search, *(f"{100 * value:.1f}" for value in (*scores.ranks.values(), scores.mean_ap, scores.mean_inp)))
            for search, scores in report.scores.items()
        ],
    )
    print(
        f"{report.queries - report.unanswerable} queries ({report.unanswerable} more have nobody to be found), "
        f"{report.entries} entries of {report.identities} identities in {report.cameras} cameras, "
        f"{report.distractors} distractors, {report.ignored} junk images ignored, {len(report.skipped)} not used"
    )
