"""The public names of the packages, listed so that none comes or goes unnoticed."""

from __future__ import annotations

import importlib

import pytest

_PUBLIC = {
    "tracking": [
        "DeepStreamFeed",
        "DeepStreamFrame",
        "DeepStreamNames",
        "DeepStreamObject",
        "DeepStreamReader",
        "DetectionSource",
        "DetectionsError",
        "DetectorError",
        "DetectorOptions",
        "DisplayError",
        "EmbedderError",
        "EmbedderOptions",
        "EvaluationError",
        "ExportError",
        "ExportOptions",
        "GtrackError",
        "LiveOptions",
        "MotTextError",
        "ObservationError",
        "OptionError",
        "OutputError",
        "OutputOptions",
        "RecordedPyds",
        "RunOptions",
        "Scene",
        "SceneConfig",
        "Sighting",
        "TemporalOptions",
        "Timeline",
        "TrackEnroller",
        "TrackFrame",
        "TrackName",
        "TrackObservation",
        "TrackReader",
        "TrackResult",
        "TrackerError",
        "TrackingRun",
        "TracksError",
        "VideoError",
        "WeightsError",
        "available_temporal",
        "available_trackers",
        "build_timeline",
        "detect_video",
        "embedding_model",
        "export_reid",
        "export_tracks",
        "iter_supervision",
        "load_detector",
        "load_embedder",
        "nvinfer_preprocessing",
        "open_detections",
        "read_tracks",
        "render_scene",
        "to_supervision",
        "track_video",
    ],
}


@pytest.mark.parametrize(("package", "names"), _PUBLIC.items(), ids=list(_PUBLIC))
def test_the_public_names_are_these(package: str, names: list[str]) -> None:
    assert names == sorted(names), "sorted, so that a name is found"
    module = importlib.import_module(package)
    assert sorted(module.__all__) == names
    for name in names:
        assert getattr(module, name) is not None
