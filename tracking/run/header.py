"""The header of a run's track-v1 file: what was tracked, and with which options."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from gallery_db.distribution import gtrack_version
from tracking.detections.detector_feed import video_facts
from tracking.video.addresses import public_name

if TYPE_CHECKING:
    from gallery_db.model import Embedder
    from tracking.options import RunOptions
    from tracking.run.gallery import RunGallery
    from tracking.run.inputs import RunInputs

__all__ = ["track_header"]


def track_header(
    options: RunOptions, inputs: RunInputs, gallery: RunGallery, embedder: Embedder | None
) -> dict[str, Any]:
    """Return every top-level key of track-v1 but ``frames``, in order.

    Args:
        options: The run's options.
        inputs: Its inputs.
        gallery: Its gallery.
        embedder: Its ReID model; None where it needs none.
    """
    header = inputs.feed.header
    return {
        "schema_version": "track-v1",
        "parent_schema_version": header.get("schema_version", "det-v1"),
        "video": header.get("video") or video_facts(public_name(inputs.source), inputs.reader),
        "detector": header.get("detector"),
        "created_at_utc": datetime.now(timezone.utc).replace(microsecond=0).isoformat(),
        "tracker": {
            "name": options.tracker,
            "class_filter": {
                "track_classes": None if inputs.selected is None else sorted(inputs.selected),
                "filter_gallery_for_tracked_classes": options.filter_gallery,
            },
            "config": _tracker_config(options, inputs, gallery, embedder),
        },
    }


def _tracker_config(
    options: RunOptions, inputs: RunInputs, gallery: RunGallery, embedder: Embedder | None
) -> dict[str, Any]:
    """Return the keys of the first track-v1 in their order, followed by the keys that came later."""
    temporal = options.temporal.for_video(inputs.frame_rate)
    is_hybrid = options.tracker == "gallery_hybrid"
    level = inputs.level
    first, start = temporal.thresholds(None if level is None else level.value)
    config: dict[str, Any] = {"track_thresh": start}
    if is_hybrid:
        config |= {
            "match_thresh": temporal.match_thresh,
            "track_buffer": temporal.track_buffer,
            "frame_rate": temporal.frame_rate,
            "per_class": temporal.per_class,
            "max_obs": temporal.max_obs,
        }
    weights = options.embedder.weights
    config["reid_weights"] = None if weights is None else str(weights)
    config["gallery"] = None if options.gallery is None else str(options.gallery)
    if is_hybrid:
        config["reid_frequency"] = options.reid_frequency
    config["gallery_match_threshold"] = gallery.threshold.value
    config["device"] = str(getattr(embedder, "device", "cpu"))
    config["half"] = bool(getattr(embedder, "half", options.embedder.half))
    if is_hybrid:
        config["temporal"] = temporal.name
        config["temporal_options"] = dict(temporal.extra)
        config["first_thresh"] = first
        config["track_thresh_from"] = (
            "option" if temporal.track_thresh is not None else "default" if level is None else level.origin
        )
    config["gallery_match_threshold_from"] = gallery.threshold.origin
    config["reid_model"] = None if embedder is None else _model_config(embedder)
    config["gallery_collection"] = None if gallery.source is None else gallery.source.gallery.collection
    config["frame_range"] = list(options.frame_range)
    if options.backfill:
        config["backfill"] = True
    # The header's own `video` is the one that the detections name, which may be another file.
    config["video"] = public_name(inputs.source)
    config["video_fps"] = inputs.fps
    config["gtrack_version"] = gtrack_version()
    if options.search != "auto":
        config["search"] = options.search
    if options.output.blur is not None:
        config["blur"] = options.output.blur
    if options.enroll != "off":
        config["enroll"] = options.enroll
        config["source_id"] = options.source_id_for(inputs.video)
        config["grace_frames"] = options.grace_frames
    return config


def _model_config(embedder: Embedder) -> dict[str, Any]:
    model = embedder.model
    return {
        "name": model.name,
        "sha256": model.sha256,
        "dimension": model.dimension,
        "preprocessing": model.preprocessing,
    }
