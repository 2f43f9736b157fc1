"""From the metadata of an NVIDIA DeepStream pipeline to a `TrackEnroller`.

`reader` turns a batch's metadata into plain data, `feed` hands it on from a pad probe, `recorded` builds the metadata's
shape from plain data, where there is no DeepStream. Importing this needs neither pyds nor GStreamer; pyds is imported
when a reader is made without one.
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
