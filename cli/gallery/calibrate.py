"""`gtrack gallery calibrate`: the match threshold that suits a gallery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.gallery.common import ids_for_table, print_notices
from cli.options import AsJson, Collection, GalleryPath
from cli.output import print_json_lines, print_line, print_table, print_text, say

if TYPE_CHECKING:
    from gallery_db import Calibration, Gallery
    from gallery_db.analysis.calibration_results import Curve, OperatingPoint, Rate
    from gallery_db.store.thresholds import StoredThreshold

__all__ = ["calibrate"]

_MAX_ANOMALIES = 5
"""Anomalies that are printed one by one."""


def calibrate(
    gallery: GalleryPath,
    far: Annotated[
        float | None,
        typer.Option(
            "--far",
            help="Wanted false accept rate (FPIR, false positive identification rate): the share of comparisons with "
            "unknown people that may give a name. Default: 0.05; a gallery of fewer than 20 identities then keeps the "
            "default threshold, if its data is compatible with it.",
        ),
    ] = None,
    looks: Annotated[
        int, typer.Option("--looks", min=2, help="Number of observations whose mean stands for a track.")
    ] = 5,
    class_name: Annotated[
        str | None,
        typer.Option("--class", help="Calibrate only this class. Default: each class by itself."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Save a plot of distances and error rates (.png, .svg or .pdf)."),
    ] = None,
    store: Annotated[
        bool, typer.Option("--store/--no-store", help="Store the threshold in the gallery, as the default of its runs.")
    ] = True,
    force: Annotated[
        bool, typer.Option("--force", help="Store the threshold even if there is too little data.")
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", help="Store this threshold (cosine distance, 0 to 2) without a measurement."),
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Show the stored thresholds, and change nothing.")] = False,
    reset: Annotated[
        bool, typer.Option("--reset", help="Remove the stored thresholds; runs then use the default, 0.25.")
    ] = False,
    as_json: AsJson = False,
    collection: Collection = None,
) -> None:
    """Find the match threshold that suits a gallery, and store it as the default of its runs.

    Example: gtrack gallery calibrate --gallery gallery --far 0.05 --plot calibration.png

    Each identity in turn is treated as unknown, and each entry is matched against the gallery without the entries that
    were seen together with it. docs/explanation/calibration.md has the method and its limits.
    """
    from gallery_db import (
        Gallery,
        GalleryError,
        calibrate_gallery,
        plot_calibrations,
        store_calibrations,
        stored_thresholds,
    )
    from tracking.errors import OptionError

    if sum((show, reset, threshold is not None)) > 1:
        raise OptionError("expected one of --threshold, --show and --reset, found several.")
    if show or reset or threshold is not None:
        if plot is not None:
            raise OptionError("--plot needs a measurement: omit --threshold, --show and --reset.")
        _manage_stored(gallery, collection, class_name, threshold, reset, as_json)
        return
    if far is not None and not 0.0 < far < 0.5:
        raise OptionError(f"expected --far between 0 and 0.5, such as 0.05, found {far}.")
    with Gallery.open(gallery, collection=collection, write=store) as source:
        print_notices(source)
        found = calibrate_gallery(source, far=far, probe_size=looks, class_name=class_name)
        sure = [one for one in found if one.chosen is not None and (force or not (one.problems or one.keep_default))]
        if store and sure:
            store_calibrations(source, sure)
        default_stands = [one for one in found if one.keep_default and one not in sure and not one.problems]
        kept_before = stored_thresholds(source) if default_stands else {}
        duplicates = [id_ for one in found for d in one.anomalies.duplicates for id_ in (d.entry_id, d.other_id)]
        shown = ids_for_table(
            source, duplicates + [m.entry_id for one in found for m in one.anomalies.mislabelled], False
        )
    for one in found:
        kept = store and one in sure
        conclusion = None
        if kept:
            conclusion = _describe_stored(one, gallery)
        elif one in default_stands:
            conclusion = _describe_default_kept(one, kept_before.get(one.class_name.casefold()))
        elif one in sure:
            conclusion = "Nothing was stored, because of --no-store."
        if as_json:
            print_json_lines([_document(one, kept)])
            if conclusion:
                say(f"{one.class_name}: {conclusion}")
        else:
            _print(one, conclusion)
        for note in one.notes:
            if as_json:
                say(f"{one.class_name}: {note}.")
            else:
                print_text(f"Note: {note}.")
        _print_anomalies(one, shown)
    if plot is not None:
        plot_calibrations(plot, found)
        say(f"plot: {plot}")
    unsure = [one for one in found if one not in sure and one.problems]
    if unsure:
        raise GalleryError(
            "; ".join(f"no threshold for {one.class_name}: {' and '.join(one.problems)}" for one in unsure) + ".",
            hint="Add more people to the gallery, or give a greater --far"
            + (", or give --force to store the threshold." if any(one.chosen for one in unsure) else ".")
            + " Without a stored threshold, runs use 0.25.",
        )


def _manage_stored(
    path: str, collection: str | None, class_name: str | None, threshold: float | None, reset: bool, as_json: bool
) -> None:
    from gallery_db import Gallery, reset_thresholds, set_threshold

    with Gallery.open(path, collection=collection, write=threshold is not None or reset) as gallery:
        print_notices(gallery)
        if threshold is not None:
            set_threshold(gallery, threshold, class_name)
        count = reset_thresholds(gallery, class_name) if reset else 0
        _show(gallery, class_name, as_json)
    if reset:
        say(f"removed {count} {'threshold' if count == 1 else 'thresholds'}.")


def _show(gallery: Gallery, class_name: str | None, as_json: bool) -> None:
    from gallery_db import DEFAULT_THRESHOLD, stored_thresholds
    from gallery_db.analysis.thresholds import describe_outdated
    from gallery_db.times import local_time

    stored = stored_thresholds(gallery)
    kept = [one for name, one in stored.items() if class_name is None or name == class_name.casefold()]
    if as_json:
        print_json_lines(
            {**asdict(one), "calibrate_again": describe_outdated(gallery, one) is not None} for one in kept
        )
    elif kept:
        print_table(
            None,
            ["class", "threshold", "from", "settings", "entries", "identities", "time", "user"],
            [
                (o.class_name, o.threshold, o.by, _settings(o), o.entries, o.identities, local_time(o.at), o.who)
                for o in kept
            ],
            whole=["time"],
            once=["class"],
            spare=["user"],
        )
    else:
        print_line(f"no threshold is stored; runs use the default, {DEFAULT_THRESHOLD}")
    for one in kept:
        if (old := describe_outdated(gallery, one)) is not None:
            say(f"warning: {old}")


def _settings(one: StoredThreshold) -> str:
    if one.by == "hand":
        return ""
    facts = one.settings
    return f"far {facts['far']:g}, {facts['how']}, " + (
        "single observations" if facts["looks"] == 1 else f"means of {facts['looks']} observations"
    )


def _per_cent(rate: Rate | float | None) -> str:
    if rate is None:
        return "-"
    if isinstance(rate, float):
        return f"{rate:.1%}"
    return f"{rate.estimate:.1%} ({100 * rate.low:.1f} to {100 * rate.high:.1f})"


def _print(one: Calibration, conclusion: str | None) -> None:
    """Print what to do, what each threshold would mean, and on what this rests."""
    print_text(f"{one.class_name}: {one.entries} entries of {one.identities} identities")
    if conclusion:
        print_text(conclusion)
    print_line()
    if one.points:
        observed = "single observations" if one.mean is None else f"means of up to {one.probe_size} observations"
        print_table(
            f"What a threshold means for {observed} (95 % intervals in brackets; * is the wanted rate)",
            [
                "--far",
                "threshold",
                "unknown people: named (FPIR)",
                "known people: missed (FNIR)",
                "wrong name",
                "how sure",
            ],
            [_row(point, point.far == (one.chosen.far if one.chosen else None)) for point in one.points],
        )
        print_text(
            "FPIR, FNIR: false positive and false negative identification rate, as in ISO/IEC 19795-1 and NIST's "
            "reports, for each comparison. A known person is missed who gets no name, or a wrong one."
        )
        print_text(
            "To store one of them, give its --far; --threshold stores any number. How sure: good, fair or weak, where "
            "at most two, at most four or more than four times the wanted share of unknown people may get a name."
        )
    for curve in (one.single, one.mean):
        if curve is None:
            continue
        what = "single observations" if curve.probe_size == 1 else f"means of up to {curve.probe_size} observations"
        equal = ""
        if curve.equal_error is not None:
            equal = f"; both errors are {_per_cent(curve.equal_error)} at {curve.equal_error_threshold:.3f}"
        print_text(
            f"Measured on {curve.probes} {what} of {curve.identities} identities, {curve.known_probes} of them with a "
            f"further group of entries to match{equal}."
        )
    print_text(f"{_KINDS[one.separation]}.")


def _row(point: OperatingPoint, wanted: bool) -> tuple[str, ...]:
    at = point.threshold
    return (
        f"{point.far:g}{' *' if wanted else ''}",
        f"{at.estimate:.3f} ({at.low:.3f} to {at.high:.3f})",
        _per_cent(point.fpir),
        _per_cent(point.fnir),
        _per_cent(point.wrong),
        _how_sure(point),
    )


def _how_sure(point: OperatingPoint) -> str:
    times = point.fpir.high / point.far
    return "good" if times <= 2 else "fair" if times <= 4 else "weak"


_KINDS = {
    "camera": "Entries seen together are grouped by camera",
    "source": "Entries seen together are grouped by source and time",
    "file_order": "Entries seen together are grouped by the order of the files",
    "nothing": "The entries are not grouped",
}


def _print_anomalies(one: Calibration, shown: Mapping[str, str]) -> None:
    found = one.anomalies
    lines = [f"{a.identity} and {a.other} may be one person (distance {a.distance:.3f})" for a in found.similar]
    lines += [f"entry {shown[m.entry_id]} of {m.identity} is nearer to {m.other}" for m in found.mislabelled]
    lines += [f"{m.identity} may be two people (distance {m.distance:.3f})" for m in found.mixed]
    lines += [
        f"entry {shown[d.entry_id]} of {d.identity} and entry {shown[d.other_id]} of {d.other} are nearly equal"
        for d in found.duplicates
    ]
    for line in lines[:_MAX_ANOMALIES]:
        say(f"warning: {one.class_name}: {line}.")
    if len(lines) > _MAX_ANOMALIES:
        say(f"warning: {len(lines) - _MAX_ANOMALIES} more; `gtrack gallery list --suspects` shows all.")


def _describe_stored(one: Calibration, gallery: str) -> str:
    """Return what was stored, and what runs will do with it."""
    assert one.chosen is not None
    at = one.chosen.threshold.estimate
    known = (
        "" if one.chosen.fnir is None else f", and {one.chosen.fnir.estimate:.1%} of the known people do not get theirs"
    )
    return (
        f"Stored {at:.4f} as the match threshold of {gallery}: runs give a name up to this distance. About "
        f"{one.chosen.fpir.estimate:.1%} of unknown people then get a name{known}."
    )


def _describe_default_kept(one: Calibration, kept: StoredThreshold | None) -> str:
    """Return why nothing was stored, and how to store the threshold all the same."""
    from gallery_db import DEFAULT_THRESHOLD
    from gallery_db.times import local_time

    assert one.chosen is not None
    at, far = one.chosen.threshold, one.chosen.far
    goes_on = (
        f"runs still use the default, {DEFAULT_THRESHOLD}"
        if kept is None
        else f"runs still use {kept.threshold:.3f}, stored at {local_time(kept.at)} "
        f"(after --reset: {DEFAULT_THRESHOLD})"
    )
    return (
        f"Nothing was stored; {goes_on}. {one.identities} identities do not show that {DEFAULT_THRESHOLD} is wrong: "
        f"for --far {far:g} the right threshold may be anywhere from {at.low:.3f} to {at.high:.3f}. To store "
        f"{at.estimate:.3f}, give --far {far:g}."
    )


def _document(one: Calibration, kept: bool) -> dict[str, Any]:
    return {
        "class": one.class_name,
        "entries": one.entries,
        "identities": one.identities,
        "apart": one.separation,
        "looks": one.probe_size,
        "threshold": None if one.chosen is None else one.chosen.threshold.estimate,
        "stored": kept,
        "chosen": None if one.chosen is None else asdict(one.chosen),
        "points": [asdict(point) for point in one.points],
        "single": _curve(one.single),
        "mean": _curve(one.mean),
        "problems": list(one.problems),
        "default_stands": one.keep_default,
        "notes": list(one.notes),
        "suspects": {
            "alike": [asdict(found) for found in one.anomalies.similar],
            "misplaced": [asdict(found) for found in one.anomalies.mislabelled],
            "mixed": [asdict(found) for found in one.anomalies.mixed],
            "duplicates": [asdict(found) for found in one.anomalies.duplicates],
        },
    }


def _curve(curve: Curve | None) -> dict[str, Any] | None:
    if curve is None:
        return None

    def numbers(values: Any) -> Sequence[float | None]:
        # NaN is no JSON.
        return [None if value != value else round(float(value), 6) for value in values]

    return {
        "looks": curve.probe_size,
        "probes": curve.probes,
        "identities": curve.identities,
        "known_probes": curve.known_probes,
        "known_identities": curve.known_identities,
        "smallest_far": curve.smallest_far,
        "equal_error": None if curve.equal_error is None else asdict(curve.equal_error),
        "equal_error_threshold": curve.equal_error_threshold,
        **{
            name: numbers(getattr(curve, name))
            for name in ("thresholds", "fpir", "fpir_low", "fpir_high", "fnir", "fnir_low", "fnir_high", "wrong")
        },
    }
