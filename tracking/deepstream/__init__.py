"""Connect an NVIDIA DeepStream pipeline to a `TrackEnroller`.

`reader` converts the metadata of a batch to plain data, `feed` passes it on from a pad probe, and `recorded` builds
such metadata from plain data on machines without DeepStream. Importing this package needs neither pyds nor GStreamer;
pyds is imported when a reader is created without one.
"""

from __future__ import annotations

from tracking.deepstream.feed import DeepStreamFeed, DeepStreamNames
from tracking.deepstream.nvinfer import nvinfer_preprocessing
from tracking.deepstream.reader import DeepStreamFrame, DeepStreamObject, DeepStreamReader
from tracking.deepstream.recorded import RecordedPyds

__all__ = [
    "DeepStreamFeed",
    "DeepStreamFrame",
    "DeepStreamNames",
    "DeepStreamObject",
    "DeepStreamReader",
    "RecordedPyds",
    "nvinfer_preprocessing",
]
