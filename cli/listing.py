"""`gtrack list`: the names that options accept."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options import AsJson, ModelsDir
from cli.output import print_json_lines, print_table

__all__ = ["What", "list_names"]


class What(str, Enum):
    """The kinds of names that can be listed."""

    trackers = "trackers"
    detectors = "detectors"
    reid_models = "reid-models"
    reid_weights = "reid-weights"


def list_names(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="trackers, detectors, reid-models or reid-weights.",
            autocompletion=lambda incomplete: [kind.value for kind in What if kind.value.startswith(incomplete)],
        ),
    ],
    as_json: AsJson = False,
    models_dir: ModelsDir = Path("models"),
) -> None:
    """List trackers, detectors, ReID architectures, or ReID weights.

    Example: gtrack list reid-weights
    """
    from gallery_db.suggestions import did_you_mean
    from tracking.errors import OptionError

    kinds = [kind.value for kind in What]
    if what not in kinds:
        raise OptionError(f"expected one of {', '.join(kinds)}, found {what!r}.", hint=did_you_mean(what, kinds))
    columns: list[str]
    rows: list[tuple[Any, ...]]
    if what == What.trackers:
        from tracking.trackers.registry import available_trackers
        from tracking.trackers.temporal import DEFAULT_TEMPORAL, TemporalOptions, available_temporal

        columns = ["name", "option", "what"]
        about = {
            "gallery_hybrid": "tracks over time, each named from several observations (default)",
            "gallery_only": "no tracks: names every detection of every frame by itself",
        }
        rows = [(name, "--tracker", about[name]) for name in available_trackers()]
        for name in available_temporal():
            if name == DEFAULT_TEMPORAL:
                words = "for gallery_hybrid: gtrack's BoT-SORT by motion only (default)"
            elif name == "bytetrack":
                words = "for gallery_hybrid: gtrack's ByteTrack, by motion only"
            elif name.startswith("rf_"):
                words = "for gallery_hybrid: roboflow's, by motion only (extra trackers)"
            elif TemporalOptions(name=name).takes_embeddings:
                words = "for gallery_hybrid: BoxMOT's, embeds every box"
            else:
                words = "for gallery_hybrid: BoxMOT's, by motion only"
            rows.append((name, "--temporal", words))
    elif what == What.detectors:
        from tracking.detectors import available_detectors

        columns = ["name", "what"]
        rows = list(available_detectors())
    elif what == What.reid_models:
        from tracking.reid.architectures import REID_ARCHITECTURES

        columns = ["name"]
        rows = [(name,) for name in REID_ARCHITECTURES]
    else:
        from tracking.boxmot_adapter import known_reid_weights
        from tracking.models.catalogue import models
        from tracking.reid.weights import local_weights

        columns = ["name", "where"]
        rows = [("builtin", "part of gtrack, needs no file")]
        rows += [(path.name, str(path)) for path in local_weights(models_dir)]
        rows += [(model.name, "published; --download fetches it") for model in models("reid")]
        rows += [(name, "known to BoxMOT, downloaded with --download") for name in known_reid_weights()]
    if as_json:
        print_json_lines(dict(zip(columns, row, strict=True)) for row in rows)
    else:
        headings = {"what": "description", "where": "location"}
        print_table(None, [headings.get(column, column) for column in columns], rows)
