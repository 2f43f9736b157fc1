"""How good a result is, against a truth: tracks, names, and the embeddings behind the names."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracking.evaluation.identity import (
        AppearanceReport,
        CurvePoint,
        Duplicate,
        IdentityReport,
        NameChange,
        PersonReport,
        evaluate_identity,
    )
    from tracking.evaluation.identity_plot import plot_identity
    from tracking.evaluation.reid import ReidReport, ReidScores, evaluate_reid, score_rankings
    from tracking.evaluation.track_table import FrameRange, TrackTable, read_tracks
    from tracking.evaluation.tracks import TrackScores, evaluate_tracks
    from tracking.evaluation.truth import Truth, read_people, read_truth, scene_truth

__all__ = [
    "AppearanceReport",
    "CurvePoint",
    "Duplicate",
    "FrameRange",
    "IdentityReport",
    "NameChange",
    "PersonReport",
    "ReidReport",
    "ReidScores",
    "TrackScores",
    "TrackTable",
    "Truth",
    "evaluate_identity",
    "evaluate_reid",
    "evaluate_tracks",
    "plot_identity",
    "read_people",
    "read_tracks",
    "read_truth",
    "scene_truth",
    "score_rankings",
]

_MODULES = {
    "identity": (
        "AppearanceReport",
        "CurvePoint",
        "Duplicate",
        "IdentityReport",
        "NameChange",
        "PersonReport",
        "evaluate_identity",
    ),
    "identity_plot": ("plot_identity",),
    "reid": ("ReidReport", "ReidScores", "evaluate_reid", "score_rankings"),
    "track_table": ("FrameRange", "TrackTable", "read_tracks"),
    "tracks": ("TrackScores", "evaluate_tracks"),
    "truth": ("Truth", "read_people", "read_truth", "scene_truth"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
