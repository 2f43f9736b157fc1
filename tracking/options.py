"""Everything that shapes a run besides its two inputs, checked before a file is opened or a model loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from gallery_db.address import location_of
from gallery_db.search.nearest import Search
from tracking.enrolment.base import EnrolMode
from tracking.enrolment.run_enrolment import check_enrolment_gallery
from tracking.errors import OptionError
from tracking.identification.gallery_source import EmbedderOptions
from tracking.outputs.run_outputs import OutputOptions
from tracking.trackers.temporal import TemporalOptions
from tracking.trackers.trackers import available_trackers
from tracking.video.live import LiveOptions

__all__ = ["FrameRange", "RunOptions", "parse_range", "read_class_names"]

FrameRange = tuple[int | None, int | None]
"""First frame and the one after the last; None for open ends."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Everything that shapes a run besides its two inputs. Defaults are the command line's.

    Attributes:
        tracker: ``gallery_hybrid`` or ``gallery_only``.
        classes: Class ids to track; None for all. Others pass through unchanged.
        filter_gallery: Drop detections of tracked classes that got no identity.
        temporal: Temporal association (``gallery_hybrid``).
        gallery: A gtrack gallery, the address of a served one, or a tree of image folders; None to track without
            names.
        embedder: The ReID model.
        reid_frequency: Frames between two looks at a track (``gallery_hybrid``).
        gallery_match_threshold: Largest cosine distance at which an identity is given, in [0, 2]; None for what the
            gallery was calibrated to, else `gallery_db.DEFAULT_THRESHOLD`.
        backfill: Write what is decided in the end on earlier frames too, in a second pass (``gallery_hybrid``).
        search: How the gallery is searched: ``exact`` compares with every entry, ``auto`` gives the same answers
            sooner, ``hnsw`` asks Chroma's index, approximately.
        explain: Say what each decision rests on: ``explanations`` in ``tracked.json``, and the picture
            ``explain.jpg`` (``gallery_hybrid``).
        class_names: Names by class id, for detections that carry none.
        frame_range: First frame and the one after the last; None for open ends.
        lenient: Leave unusable detections out, counted, instead of refusing the file.
        output: What to save.
        enroll: Whom to put into the gallery when their track has ended: ``off``, ``unknown`` or ``all``.
        source_id: The camera that enrolled tracks are of; the video's stem if None.
        grace_frames: Frames that a track may be out of sight before it has ended.
        save_detections: Also write what a detector found to this det-v1 file.
        live: How a camera or a stream is read.
    """

    tracker: str = "gallery_hybrid"
    classes: Sequence[int] | None = None
    filter_gallery: bool = False
    temporal: TemporalOptions = field(default_factory=TemporalOptions)
    gallery: str | Path | None = None
    embedder: EmbedderOptions = field(default_factory=EmbedderOptions)
    reid_frequency: int = 10
    gallery_match_threshold: float | None = None
    backfill: bool = False
    search: Search = "auto"
    explain: bool = False
    class_names: Mapping[int, str] = field(default_factory=dict)
    frame_range: tuple[int | None, int | None] = (None, None)
    lenient: bool = False
    output: OutputOptions = field(default_factory=OutputOptions)
    enroll: EnrolMode = "off"
    source_id: str | None = None
    grace_frames: int = 30
    save_detections: Path | None = None
    live: LiveOptions = field(default_factory=LiveOptions)

    def validate(self) -> None:
        """Check all that can be checked before a file is opened or a model loaded.

        Raises:
            OptionError: A value or a combination that makes no sense.
            DisplayError: See `OutputOptions.validate`.
        """
        if self.tracker not in available_trackers():
            raise OptionError(f"unknown tracker {self.tracker!r}; expected one of {', '.join(available_trackers())}.")
        if self.tracker == "gallery_only" and self.gallery is None:
            raise OptionError("tracker gallery_only needs a gallery.", hint="Give one with --gallery.")
        if self.filter_gallery and self.gallery is None:
            raise OptionError("--filter-gallery without --gallery would drop every detection.")
        if self.backfill and (self.gallery is None or self.tracker != "gallery_hybrid"):
            raise OptionError(
                "--backfill needs tracks and names.", hint="Give --gallery, and --tracker gallery_hybrid."
            )
        if self.explain and (self.gallery is None or self.tracker != "gallery_hybrid" or not self.output.saves):
            raise OptionError(
                "--explain needs tracks, names and a run folder.",
                hint="Give --gallery, --tracker gallery_hybrid, and --json.",
            )
        if self.reid_frequency < 1:
            raise OptionError(f"--reid-frequency must be at least 1, got {self.reid_frequency}.")
        if self.gallery_match_threshold is not None and not 0.0 <= self.gallery_match_threshold <= 2.0:
            raise OptionError(
                f"--gallery-match-threshold is a cosine distance in 0 to 2, got {self.gallery_match_threshold}."
            )
        if self.search not in get_args(Search):
            raise OptionError(f"--search must be one of {', '.join(get_args(Search))}, got {self.search!r}.")
        start, stop = self.frame_range
        if (start is not None and start < 0) or (stop is not None and stop <= (start or 0)):
            raise OptionError(f"--range needs 0 <= A < B, got {start}:{stop}.")
        self._validate_enrolment()
        self.temporal.validate()
        self.output.validate()

    def _validate_enrolment(self) -> None:
        if self.enroll not in get_args(EnrolMode):
            raise OptionError(f"--enroll must be one of {', '.join(get_args(EnrolMode))}, got {self.enroll!r}.")
        if self.grace_frames < 0:
            raise OptionError(f"--grace-frames must be at least 0, got {self.grace_frames}.")
        if self.source_id is not None and (not self.source_id.strip() or not self.source_id.isprintable()):
            raise OptionError(f"--source-id must be some printable text, got {self.source_id!r}.")
        if self.enroll == "off":
            return
        if self.gallery is None:
            raise OptionError(
                "--enroll needs a gallery to put people into.", hint="Give one with --gallery; an absent one is made."
            )
        if self.tracker != "gallery_hybrid":
            raise OptionError(
                f"tracker {self.tracker} has no tracks that could be enrolled.", hint="Use gallery_hybrid."
            )
        check_enrolment_gallery(location_of(self.gallery))


def parse_range(text: str | None) -> tuple[int | None, int | None]:
    """``A:B`` to (A, B): frames A up to, not including, B; either may be left out.

    Raises:
        OptionError: Not of that form.
    """
    if text is None:
        return None, None
    parts = text.split(":")
    if len(parts) != 2 or not all(p == "" or p.isdecimal() for p in parts):
        raise OptionError(
            f"--range must be A:B (frames A up to, not including, B), such as 400: or 0:400, got {text!r}."
        )
    start, stop = (int(p) if p else None for p in parts)
    return start, stop


def read_class_names(names: str | Path | Mapping[int, str] | Sequence[str] | None) -> dict[int, str]:
    """Class names by id, from a mapping, a list, or a file with one name a line.

    Raises:
        OptionError: The file cannot be read.
    """
    if names is None:
        return {}
    if isinstance(names, Mapping):
        return {int(k): str(v) for k, v in names.items()}
    if isinstance(names, (str, Path)):
        try:
            names = Path(names).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError(
                f"class names {names} cannot be read: {error}.", hint="Expected a text file, one name a line."
            ) from error
    return {i: name.strip() for i, name in enumerate(names) if name.strip()}
