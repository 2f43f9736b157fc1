"""`gtrack eval`: compare tracks, names and embeddings with a ground truth."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import Collection, Device, Download, Half, ModelsDir, NoProgress, ReidWeights, Runtime, Threads
from cli.output import print_json_lines, print_table, progress_bar, say

if TYPE_CHECKING:
    from tracking.evaluation import IdentityReport, ReidReport, TrackScores, TrackTable, Truth
    from tracking.evaluation.track_table import FrameRange

__all__ = ["app", "identity", "reid", "tracks"]

app = typer.Typer(help="Compare tracks, names and embeddings with a ground truth.", no_args_is_help=True)

Result = Annotated[Path, typer.Argument(help="tracked.json of gtrack run --json (track-v1), or MOTChallenge text.")]
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
        "--people", help="Who is who: a CSV file with the columns gt_id and person. Several ids may be one person."
    ),
]
Range = Annotated[
    str | None,
    typer.Option("--range", metavar="A:B", help="Evaluate only frames A to B, without B, counted from 0."),
]
ClassName = Annotated[
    str, typer.Option("--class-name", help="Evaluate only boxes of this class, and boxes without a class.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]


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
    """Read the result and the ground truth, check that they fit, and report what is left out."""
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
                f"{result} has no tracked box of class {class_name!r}, but {others}.",
                hint="Give the class with --class-name.",
            )
        say(f"not evaluated: {others} in {result}")
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


@app.command()
def tracks(
    result: Result,
    truth: TruthPath,
    by: Annotated[
        _By | None,
        typer.Option("--by", help="The objects of the result. Default: both, where there are names."),
    ] = None,
    people: People = None,
    frame_range: Range = None,
    benchmark: Annotated[
        _Benchmark,
        typer.Option(
            "--benchmark",
            help="The rules that prepare the ground truth. auto: those of MOT17 if it has classes (of MOT20 by the "
            "sequence's name), else those of MOT15.",
        ),
    ] = _Benchmark.auto,
    class_name: ClassName = "person",
    as_json: AsJson = False,
) -> None:
    """Compute HOTA, CLEAR and Identity (IDF1) of tracks with TrackEval.

    Example: gtrack eval tracks out/clip/tracked.json --truth MOT15/train/PETS09-S2L1

    The table has TrackEval's own figures in percent; --json has them in full, as ratios. With --people, the objects of
    the ground truth are people over the whole video, instead of its ids. By gallery_id, the boxes of a track without a
    name are an object of their own.
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
        raise EvaluationError(f"{result} has no names.", hint="Use --by track_id.")
    if not wanted:
        raise EvaluationError(f"{result} has neither tracks nor names.")
    scores = [
        evaluate_tracks(table, real, kind.value, benchmark=benchmark.value, frame_range=frames) for kind in wanted
    ]
    for score in scores:
        if score.duplicates:
            say(f"by gallery_id: {score.duplicates} boxes count as unnamed: another box of the frame has their name")
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
    rows: list[tuple[str, ...]] = []
    for metric, figures in scores[0].printed.items():
        rows += [(metric, name, *(score.printed[metric][name] for score in scores)) for name in figures]
    rows += [("Count", name, *(str(score.counts[name]) for score in scores)) for name in scores[0].counts]
    print_table(
        f"Tracks compared with {truth.name} (objects: {objects}; rules of {scores[0].benchmark})",
        ["metric", "figure", *(f"by {score.by}" for score in scores)],
        rows,
    )


@app.command()
def identity(
    result: Result,
    truth: TruthPath,
    people: People = None,
    known: Annotated[
        str | None,
        typer.Option(
            "--known",
            metavar="NAME,...",
            help="The people whom the gallery had when the run began; '' for nobody. The others are strangers.",
        ),
    ] = None,
    gallery: Annotated[
        Path | None,
        typer.Option(
            "--gallery", "-g", help="The gallery of the run, or its folder of image folders; instead of --known."
        ),
    ] = None,
    frame_range: Range = None,
    class_name: ClassName = "person",
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE.png",
            help="Also draw the names of each person over time, and the curve.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Count right and wrong names over a video, of known people and of strangers.

    Example: gtrack eval identity tracked.json --truth PETS09-S2L1 --people people.csv --gallery gallery

    It counts person-frames (a person in a frame) with the right name, a wrong name and no name; strangers named by
    mistake; name changes in a track; names that occur twice in a frame; and frames until the first right name. An
    unknown identity of enrolment (unknown-0007) is right for the stranger that it belongs to most. The curve shows
    stricter thresholds than the run's; for a higher threshold, run again.
    """
    from tracking.errors import OptionError
    from tracking.evaluation import evaluate_identity, plot_identity

    if known is not None and gallery is not None:
        raise OptionError("--known and --gallery were both given.", hint="Give one of them: they mean the same.")
    table, real, frames = _read(result, truth, people, frame_range, class_name)
    who = _known(known, gallery, real)
    report = evaluate_identity(table, real, who, frame_range=frames)
    if plot is not None:
        plot_identity(report, plot, title=f"Names of {result} compared with {real.name}")
    if as_json:
        print_json_lines([_identity_json(report, result, real)])
    else:
        _print_identity(report, real)
    if plot is not None:
        say(f"plot: {plot}")


def _known(known: str | None, gallery: Path | None, truth: Truth) -> frozenset[str] | None:
    """Return the names of the people whom the gallery had; None if the ground truth lists them."""
    from gallery_db import Gallery, GalleryNotFoundError, is_gallery
    from tracking.enrolment.base import is_unknown
    from tracking.errors import OptionError

    if truth.persons is None:
        raise OptionError(
            f"{truth.path} does not say who is who.", hint="Give a CSV file of gt_id,person with --people."
        )
    if known is not None:
        names = {name.strip() for name in known.split(",")} - {""}
        missing = sorted(names - set(truth.people))
        if missing:
            raise OptionError(
                f"--known {', '.join(missing)}: not among the people of the ground truth, who are "
                f"{', '.join(sorted(truth.people))}."
            )
        return frozenset(names)
    if gallery is None:
        if truth.known is None:
            raise OptionError(
                "it is not given which people the gallery had.",
                hint="Give --gallery, or --known with their names ('' for nobody).",
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
        say(f"{gallery} has none of the people of the ground truth ({people}){but}: all of them count as strangers")
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
                "called": dict(p.names_given.most_common()),
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
            for a in report.sightings
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
        f"Names compared with {truth.name}, frames {report.frames[0]} to {report.frames[1]} (numbers of frames)",
        ["person", "known", "visible", "covered by a track", "right", "wrong", "no name", "names given"],
        [
            (
                p.name,
                "yes" if p.known else "no",
                p.in_sight,
                p.frames,
                p.right,
                p.wrong,
                p.unnamed,
                ", ".join(f"{name} x {count}" for name, count in p.names_given.most_common(3)) or "-",
            )
            for p in report.people
        ],
    )
    rows = []
    for title, group in (("known people", report.known), ("strangers", report.strangers)):
        if not group:
            continue
        for of, whole in (
            ("covered by a track", sum(p.frames for p in group)),
            ("visible", sum(p.in_sight for p in group)),
        ):
            counts = [sum(getattr(p, name) for p in group) for name in ("right", "wrong", "unnamed")]
            rows.append((title, f"{whole} {of}", *(_percent(count, whole) for count in counts)))
    print_table(None, ["people", "person-frames", "right", "wrong", "no name"], rows)
    shared = sum(p.shared for p in report.people)
    if shared:
        print(f"person-frames that are not covered because their box covers another person: {shared}")
    _print_sightings(report)
    covered = sum(p.frames for p in report.strangers)
    named = sum(p.by_name for p in report.strangers)
    print(f"strangers named by mistake: {named} of {covered} person-frames ({_percent(named, covered)})")
    if report.owners:
        owners = ", ".join(f"{name} = {owner or 'nobody'}" for name, owner in sorted(report.owners.items()))
        print(f"unknown identities:         {owners}")
    if report.name_changes is None:
        print("name changes in tracks:     - (no tracks)")
    else:
        first = ", ".join(f"track {c.track_id} in frame {c.frame}" for c in report.name_changes[:3])
        print(f"name changes in tracks:     {len(report.name_changes)}{f' ({first})' if first else ''}")
        swapped = sum(change.swapped for change in report.name_changes)
        if swapped:
            print(f"  due to tracking errors:   {swapped} (the track itself moved to another person)")
    print(f"same name twice in a frame: {len(report.duplicates)}")
    print(f"names without a person:     {report.named_elsewhere}")
    _print_wait(report)
    _print_curve(report)


def _print_sightings(report: IdentityReport) -> None:
    if not report.known:
        return

    def when(frame: int | None) -> str:
        return "-" if frame is None else str(frame)

    print_table(
        "Known people: frames until the first right name",
        ["person", "id", "visible from", "to", "covered from", "named from", "wait", "wait from covered"],
        [
            (a.person, a.number, a.first, a.last, when(a.covered), when(a.named), when(a.wait), when(a.wait_covered))
            for a in report.sightings
            if a.known
        ],
    )


def _print_wait(report: IdentityReport) -> None:
    from statistics import median

    waits, total = report.waits(), sum(a.known for a in report.sightings)
    if not total:
        return
    if not waits:
        print(f"first right name:           never, in {total} sightings")
        return
    covered = report.waits(covered=True)
    seconds = f" ({median(waits) / report.fps:.1f} s)" if report.fps else ""
    never = f"; never in {total - len(waits)} of {total} sightings"
    print(f"first right name:           after {median(waits):g} frames{seconds} (median), at most {waits[-1]}{never}")
    print(f"  from the first covered:   after {median(covered):g} frames (median), at most {covered[-1]}")


def _print_curve(report: IdentityReport) -> None:
    if not report.curve:
        print(f"stricter thresholds:        {report.curve_note}")
        return
    strangers = sum(p.frames for p in report.strangers)
    print(f"stricter thresholds:        {report.curve_note}")
    # A dozen rows are enough here; --json and --plot have all of them.
    step = -(-len(report.curve) // 12)
    points = report.curve[::-1][::step][::-1]
    print_table(
        "Names at stricter thresholds",
        ["threshold", "precision", "recall", "strangers named by mistake"],
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
            help="A gallery; or a folder of images with Market-1501's names (also in query/ and bounding_box_test/), "
            "or with one sub-folder an identity.",
        ),
    ],
    queries: Annotated[
        Path | None,
        typer.Option(
            "--queries",
            help="A folder of query images. Default: query/, else the first image of each identity and camera.",
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
    """Compute rank-k, mAP and mINP by Market-1501's protocol, with the gallery's index (HNSW) and with exact search.

    Example: gtrack eval reid Market-1501-v15.09.15 --reid-weights osnet_x0_25_msmt17.onnx

    Images of the query's person from the query's camera are ignored, and junk images (-1) too; distractors (0000) are
    never right. A gallery without --queries needs no model: its own entries are the queries.
    """
    from tracking.evaluation import evaluate_reid
    from tracking.identification.gallery_source import EmbedderOptions

    options = EmbedderOptions(reid_weights, models_dir, device, half, runtime, threads, download)
    with (
        progress_bar("embedding", "images", no_progress) as progress,
        progress_bar("searching", "queries", no_progress) as search_progress,
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
        say(f"skipped: {path} ({reason})")
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
        f"Search in {target} with model {report.model} (percent)",
        ["search", *(f"rank-{k}" for k in ranks), "mAP", "mINP"],
        [
            (search, *(f"{100 * value:.1f}" for value in (*scores.ranks.values(), scores.mean_ap, scores.mean_inp)))
            for search, scores in report.scores.items()
        ],
    )
    print(
        f"{report.queries - report.unanswerable} queries ({report.unanswerable} more have no right entry), "
        f"{report.entries} entries of {report.identities} identities in {report.cameras} cameras, "
        f"{report.distractors} distractors, {report.ignored} junk images ignored, {len(report.skipped)} images skipped"
    )
