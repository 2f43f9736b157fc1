"""Trackers that know who is on the video.

``track_video`` does the main job; `TrackingRun` and `RunOptions` are the same in steps. `TrackEnroller` names and
enrols for whoever tracks and embeds by themselves. Importing this package is cheap: torch, BoxMOT, ONNX Runtime and
OpenCV are loaded where they are used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracking.api import track_video as track_video
    from tracking.deepstream.feed import DeepStreamFeed as DeepStreamFeed
    from tracking.deepstream.feed import DeepStreamNames as DeepStreamNames
    from tracking.deepstream.nvinfer import nvinfer_preprocessing as nvinfer_preprocessing
    from tracking.deepstream.reader import DeepStreamFrame as DeepStreamFrame
    from tracking.deepstream.reader import DeepStreamObject as DeepStreamObject
    from tracking.deepstream.reader import DeepStreamReader as DeepStreamReader
    from tracking.deepstream.recorded import RecordedPyds as RecordedPyds
    from tracking.demo_scene import Scene as Scene
    from tracking.demo_scene import SceneConfig as SceneConfig
    from tracking.demo_scene import render_scene as render_scene
    from tracking.detect import detect_video as detect_video
    from tracking.detections import DetectionSource as DetectionSource
    from tracking.detections import open_detections as open_detections
    from tracking.detectors.base import DetectorOptions as DetectorOptions
    from tracking.detectors.loader import load_detector as load_detector
    from tracking.options import RunOptions as RunOptions
    from tracking.pipeline import TrackingRun as TrackingRun
    from tracking.reid import load_embedder as load_embedder
    from tracking.reid.elsewhere import embedding_model as embedding_model
    from tracking.result import TrackResult as TrackResult
    from tracking.results.exporting import export_tracks as export_tracks
    from tracking.results.reading import TrackFrame as TrackFrame
    from tracking.results.reading import TrackReader as TrackReader
    from tracking.results.reading import read_tracks as read_tracks
    from tracking.results.supervision_frames import iter_supervision as iter_supervision
    from tracking.results.supervision_frames import to_supervision as to_supervision
    from tracking.results.timelines import Timeline as Timeline
    from tracking.results.timelines import timeline as timeline
    from tracking.sources import LiveOptions as LiveOptions
    from tracking.track_enroller import Sighting as Sighting
    from tracking.track_enroller import TrackEnroller as TrackEnroller
    from tracking.track_enroller import TrackName as TrackName
    from tracking.trackers import available_trackers as available_trackers

_HOMES = {
    "DeepStreamFeed": "tracking.deepstream.feed",
    "DeepStreamFrame": "tracking.deepstream.reader",
    "DeepStreamNames": "tracking.deepstream.feed",
    "DeepStreamObject": "tracking.deepstream.reader",
    "DeepStreamReader": "tracking.deepstream.reader",
    "DetectionSource": "tracking.detections",
    "DetectorOptions": "tracking.detectors.base",
    "LiveOptions": "tracking.sources",
    "RecordedPyds": "tracking.deepstream.recorded",
    "RunOptions": "tracking.options",
    "Scene": "tracking.demo_scene",
    "SceneConfig": "tracking.demo_scene",
    "Sighting": "tracking.track_enroller",
    "Timeline": "tracking.results.timelines",
    "TrackEnroller": "tracking.track_enroller",
    "TrackFrame": "tracking.results.reading",
    "TrackName": "tracking.track_enroller",
    "TrackReader": "tracking.results.reading",
    "TrackResult": "tracking.result",
    "TrackingRun": "tracking.pipeline",
    "available_trackers": "tracking.trackers",
    "detect_video": "tracking.detect",
    "embedding_model": "tracking.reid.elsewhere",
    "export_tracks": "tracking.results.exporting",
    "iter_supervision": "tracking.results.supervision_frames",
    "load_detector": "tracking.detectors.loader",
    "load_embedder": "tracking.reid",
    "nvinfer_preprocessing": "tracking.deepstream.nvinfer",
    "open_detections": "tracking.detections",
    "read_tracks": "tracking.results.reading",
    "render_scene": "tracking.demo_scene",
    "timeline": "tracking.results.timelines",
    "to_supervision": "tracking.results.supervision_frames",
    "track_video": "tracking.api",
}

__all__ = [
    "DeepStreamFeed",
    "DeepStreamFrame",
    "DeepStreamNames",
    "DeepStreamObject",
    "DeepStreamReader",
    "DetectionSource",
    "DetectorOptions",
    "LiveOptions",
    "RecordedPyds",
    "RunOptions",
    "Scene",
    "SceneConfig",
    "Sighting",
    "Timeline",
    "TrackEnroller",
    "TrackFrame",
    "TrackName",
    "TrackReader",
    "TrackResult",
    "TrackingRun",
    "available_trackers",
    "detect_video",
    "embedding_model",
    "export_tracks",
    "iter_supervision",
    "load_detector",
    "load_embedder",
    "nvinfer_preprocessing",
    "open_detections",
    "read_tracks",
    "render_scene",
    "timeline",
    "to_supervision",
    "track_video",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
