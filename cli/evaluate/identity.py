"""`gtrack eval identity`: right and wrong names over a video."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.evaluate.common import ClassName, People, Range, Result, TruthPath, read_result_and_truth
from cli.options import AsJson
from cli.output import print_json_lines, print_line, print_table, print_text, say

if TYPE_CHECKING:
    from tracking.evaluation import IdentityReport, Share, Truth

__all__ = ["identity"]


def identity(
    result: Result,
    truth: TruthPath,
    people: People = None,
    known: Annotated[
        str | None,
        typer.Option(
            "--known",
            metavar="NAME,...",
            help="Names of the people that the gallery had when the run began; '' for none. All others are strangers.",
        ),
    ] = None,
    gallery: Annotated[
        Path | None,
        typer.Option(
            "--gallery",
            "-g",
            help="The gallery of the run, or its image folders: all its identities are known. Instead of --known.",
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
    """Count the right and wrong names of known people and of strangers in a video.

    Example: gtrack eval identity tracked.json --truth PETS09-S2L1 --people people.csv --gallery gallery

    It counts person-frames (a person in a frame) with the right name, a wrong name and no name; strangers named by
    mistake; name changes in a track; names that occur twice in a frame; and frames until the first right name. An
    unknown identity of enrolment (unknown-0007) is right for the stranger that has it in most frames. The curve shows
    stricter thresholds than that of the run; for a higher threshold, run again. The last table has the share of known
    people's tracks that are missed (FNIR) where 1, 5 and 10 % of strangers' tracks may be named (FPIR), as NIST
    reports it.
    """
    from tracking.errors import OptionError
    from tracking.evaluation import evaluate_identity, plot_identity

    if known is not None and gallery is not None:
        raise OptionError("--known and --gallery were both given.", hint="Give one of them: they mean the same.")
    table, real, frames = read_result_and_truth(result, truth, people, frame_range, class_name)
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
    """Return the names of the people that the gallery had; None if the ground truth lists them."""
    from gallery_db import Gallery, GalleryNotFoundError, is_gallery
    from tracking.enrolment.base import is_unknown
    from tracking.errors import OptionError

    if truth.persons is None:
        raise OptionError(
            f"{truth.path} does not name the person of each id.", hint="Give a CSV file of gt_id,person with --people."
        )
    if known is not None:
        names = {name.strip() for name in known.split(",")} - {""}
        missing = sorted(names - set(truth.people))
        if missing:
            raise OptionError(
                f"--known {', '.join(missing)}: not among the people of the ground truth: "
                f"{', '.join(sorted(truth.people))}."
            )
        return frozenset(names)
    if gallery is None:
        if truth.known is None:
            raise OptionError(
                "the people that the gallery had are not given.",
                hint="Give --gallery, or --known with their names ('' for none).",
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
        say(f"{gallery} has none of the people of the ground truth ({people}){but}: all of them count as strangers.")
    return frozenset(names)


_INDENT = 28
"""Where the values of the lines below the tables begin."""


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
        "open_set": [
            {
                "wanted_fpir": point.wanted,
                "threshold": point.threshold,
                "is_limit": point.is_limit,
                "stranger_tracks": point.fpir.total,
                "strangers_named": point.fpir.count,
                "fpir": point.fpir.estimate,
                "fpir_interval": list(point.fpir.interval),
                "known_tracks": point.fnir.total,
                "known_missed": point.fnir.count,
                "fnir": point.fnir.estimate,
                "fnir_interval": list(point.fnir.interval),
                "known_wrong": point.wrong,
            }
            for point in report.open_set
        ],
        "open_set_note": report.open_set_note,
    }


def _headline(report: IdentityReport) -> str:
    """Return what the figures say, in a sentence."""
    parts = []
    if covered := sum(p.frames for p in report.known):
        right, wrong = (_percent(sum(getattr(p, name) for p in report.known), covered) for name in ("right", "wrong"))
        parts.append(f"known people have the right name in {right} and a wrong name in {wrong}")
    if covered := sum(p.frames for p in report.strangers):
        named = _percent(sum(p.by_name for p in report.strangers), covered)
        parts.append(f"strangers have the name of a known person in {named}")
    if not parts:
        return "No track covers a person of the ground truth."
    return f"In the frames in which a track covers them, {', and '.join(parts)}."


def _print_identity(report: IdentityReport, truth: Truth) -> None:
    print_text(_headline(report))
    print_line()
    print_table(
        f"Names compared with {truth.name}, frames {report.frames[0]} to {report.frames[1]} (numbers of frames)",
        ["person", "known", "visible", "tracked", "right", "wrong", "no name", "other names"],
        [
            (
                p.name,
                "yes" if p.known else "no",
                p.in_sight,
                p.frames,
                p.right,
                p.wrong,
                p.unnamed,
                ", ".join(f"{name} ({n})" for name, n in p.names_given.most_common(4) if name != p.name) or "-",
            )
            for p in report.people
        ],
    )
    rows = []
    for title, group in (("known people", report.known), ("strangers", report.strangers)):
        if not group:
            continue
        for of, whole in (
            ("tracked", sum(p.frames for p in group)),
            ("visible", sum(p.in_sight for p in group)),
        ):
            counts = [sum(getattr(p, name) for p in group) for name in ("right", "wrong", "unnamed")]
            rows.append((title, f"{whole} {of}", *(_percent(count, whole) for count in counts)))
    print_table(None, ["people", "person-frames", "right", "wrong", "no name"], rows)
    shared = sum(p.shared for p in report.people)
    if shared:
        print_text(f"person-frames that are not covered because their box covers another person: {shared}")
    _print_sightings(report)
    covered = sum(p.frames for p in report.strangers)
    named = sum(p.by_name for p in report.strangers)
    print_text(
        f"strangers named by mistake: {named} of {covered} person-frames ({_percent(named, covered)})", indent=_INDENT
    )
    if report.owners:
        owners = ", ".join(f"{name} = {owner or 'no person'}" for name, owner in sorted(report.owners.items()))
        print_text(f"unknown identities:         {owners}", indent=_INDENT)
    if report.name_changes is None:
        print_line("name changes in tracks:     - (no tracks)")
    else:
        first = ", ".join(f"track {c.track_id} in frame {c.frame}" for c in report.name_changes[:3])
        print_text(
            f"name changes in tracks:     {len(report.name_changes)}{f' ({first})' if first else ''}", indent=_INDENT
        )
        swapped = sum(change.swapped for change in report.name_changes)
        if swapped:
            print_text(
                f"  due to tracking errors:   {swapped} (the track itself moved to another person)", indent=_INDENT
            )
    print_line(f"same name twice in a frame: {len(report.duplicates)}")
    print_line(f"names without a person:     {report.named_elsewhere}")
    _print_wait(report)
    _print_curve(report)
    _print_open_set(report)


def _print_sightings(report: IdentityReport) -> None:
    if not report.known:
        return

    def when(frame: int | None) -> str:
        return "-" if frame is None else str(frame)

    print_table(
        "Known people: frames until the first right name",
        ["person", "id", "visible from", "to", "tracked from", "named from", "wait", "wait in track"],
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
        print_line(f"first right name:           never, in {total} sightings")
        return
    covered = report.waits(covered=True)
    seconds = f" ({median(waits) / report.fps:.1f} s)" if report.fps else ""
    never = f"; never in {total - len(waits)} of {total} sightings"
    words = f"after {median(waits):g} frames{seconds} (median), at most {waits[-1]}{never}"
    print_text(f"first right name:           {words}", indent=_INDENT)
    print_text(
        f"  from the first covered:   after {median(covered):g} frames (median), at most {covered[-1]}", indent=_INDENT
    )


def _print_curve(report: IdentityReport) -> None:
    if not report.curve:
        print_text(f"stricter thresholds:        {report.curve_note}", indent=_INDENT)
        return
    strangers = sum(p.frames for p in report.strangers)
    print_text(f"stricter thresholds:        {report.curve_note}", indent=_INDENT)
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


def _print_open_set(report: IdentityReport) -> None:
    print_text(f"FNIR at FPIR, by track:     {report.open_set_note}", indent=_INDENT)
    if not report.open_set:
        return

    def share(found: Share) -> str:
        low, high = found.interval
        return f"{_percent(found.count, found.total)} ({100 * low:.1f} to {100 * high:.1f})"

    print_table(
        "Tracks of known people that are missed, where few tracks of strangers are named",
        ["wanted FPIR", "threshold", "named", "FPIR (95 %)", "missed", "FNIR (95 %)"],
        [
            (
                f"{point.wanted:.0%}",
                "-" if point.threshold is None else f"{point.threshold:.3f}",
                point.fpir.count,
                share(point.fpir),
                point.fnir.count,
                share(point.fnir),
            )
            for point in report.open_set
        ],
    )
