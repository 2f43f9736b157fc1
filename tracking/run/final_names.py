"""After the last frame: the final names of the tracks, written back, explained and drawn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracking.identification.backfill import Backfill
from tracking.outputs.explain_sheet import explanation_documents, write_explain_sheet
from tracking.video.opening import open_video

if TYPE_CHECKING:
    from tracking.enrolment.camera_tracks import BestCrop
    from tracking.identification.gallery_source import GallerySource
    from tracking.identification.named_tracklets import NamedTracklet
    from tracking.options import RunOptions
    from tracking.outputs.result import Tally
    from tracking.outputs.run_outputs import RunOutputs
    from tracking.run.gallery import RunGallery
    from tracking.run.inputs import RunInputs
    from tracking.trackers.hybrid import Hybrid

__all__ = ["ExplainedTracklets", "draw_explanations", "final_names", "finish_names"]

TrackletKey = tuple[int, int]
"""Track id and first frame of a tracklet."""


@dataclass(frozen=True, slots=True)
class ExplainedTracklets:
    """The tracklets of a run with what their explanations need.

    Attributes:
        tracklets: As they were decided during the run.
        final: The final name of each, or None.
        best_crops: Where the best crops of each are in the video.
    """

    tracklets: Sequence[NamedTracklet]
    final: Mapping[TrackletKey, str | None]
    best_crops: Mapping[TrackletKey, Sequence[BestCrop]]


def finish_names(
    options: RunOptions, inputs: RunInputs, tracker: Hybrid, gallery: RunGallery, outputs: RunOutputs, tally: Tally
) -> ExplainedTracklets | None:
    """Decide the final names of all tracks, write them on the earlier frames (backfill), and explain them.

    Returns:
        What `draw_explanations` needs; None where the run is not explained.

    Raises:
        OutputError: The disk is full or gone.
        VideoError: The video cannot be read again.
    """
    decided = tracker.tracklets()
    final = decided
    if options.backfill and gallery.enrolment is not None:
        final = gallery.enrolment.relink(decided)
    explained = None
    if options.explain:
        names = final_names(decided, final)
        outputs.tracks.extra["explanations"] = explanation_documents(decided, names)
        explained = ExplainedTracklets(decided, names, tracker.best_crops or {})
    if options.backfill:
        _backfill(options, inputs, Backfill(final, inputs.class_names), outputs, tally)
    return explained


def _backfill(options: RunOptions, inputs: RunInputs, backfill: Backfill, outputs: RunOutputs, tally: Tally) -> None:
    """Correct the names of the frames done, and draw their pictures, in a second pass."""

    def correct(document: dict[str, Any]) -> None:
        tally.backfilled += backfill.correct(document)
        if options.filter_gallery:
            document["detections"] = [
                d
                for d in document["detections"]
                if "gallery_id" in d or not (inputs.selected is None or d.get("class_id") in inputs.selected)
            ]

    outputs.tracks.rewrite(correct)
    tally.recount(outputs.tracks.documents(), temporal=True)
    if outputs.saves_pictures:
        with open_video(inputs.source, options.live) as reader:
            for document in outputs.tracks.documents():
                while reader.frame < document["frame"] and reader.advance():
                    pass
                outputs.save_picture(document, reader.image())


def draw_explanations(explained: ExplainedTracklets, source: GallerySource, video: Path, outputs: RunOutputs) -> None:
    """Write ``explain.jpg`` into the run folder, and note its path in `outputs.paths`.

    Raises:
        GtrackError: See `write_explain_sheet`.
    """
    assert outputs.paths.run_dir is not None  # RunOptions.validate
    path = write_explain_sheet(
        outputs.paths.run_dir / "explain.jpg",
        explained.tracklets,
        explained.final,
        explained.best_crops,
        video,
        source.gallery.location,
        source.gallery.collection,
    )
    outputs.paths = replace(outputs.paths, explain_path=path)


def final_names(decided: Sequence[NamedTracklet], final: Sequence[NamedTracklet]) -> dict[TrackletKey, str | None]:
    """Return the name that each tracklet has in most of its frames after the run.

    Args:
        decided: The tracklets as decided during the run.
        final: The tracklets after the run; a track may be split otherwise there.
    """
    parts: dict[int, list[NamedTracklet]] = defaultdict(list)
    for part in final:
        parts[part.track_id].append(part)
    names: dict[TrackletKey, str | None] = {}
    for tracklet in decided:
        frames: dict[str | None, int] = defaultdict(int)
        for part in parts[tracklet.track_id]:
            name = None if part.named is None else part.named.identity
            frames[name] += max(0, min(part.last, tracklet.last) - max(part.first, tracklet.first) + 1)
        best = max(frames.items(), key=lambda item: item[1], default=(None, 0))
        names[tracklet.track_id, tracklet.first] = best[0]
    return names
