"""The options of a run, checked before a file is opened or a model loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args

from gallery_db.address import location_of
from gallery_db.search.nearest import Search
from gallery_db.suggestions import did_you_mean
from tracking.classes import Classes
from tracking.detectors.base import DetectorOptions
from tracking.enrolment.base import EnrolMode
from tracking.enrolment.enrolment_gallery import check_enrolment_gallery
from tracking.errors import OptionError
from tracking.identification.gallery_source import EmbedderOptions
from tracking.json_stream import show
from tracking.outputs.options import OutputOptions
from tracking.trackers.registry import available_trackers
from tracking.trackers.temporal import TemporalOptions, available_temporal
from tracking.video.live import LiveOptions

__all__ = [
    "FrameRange",
    "RunOptions",
    "check_range",
    "detector_options",
    "flat_arguments",
    "parse_range",
    "read_class_names",
]

FrameRange = tuple[int | None, int | None]
"""First frame and the one after the last; None for open ends."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of a run: everything but its video and its detections. Defaults are those of `gtrack run`.

    Attributes:
        tracker: ``gallery_hybrid`` or ``gallery_only``.
        classes: Ids or names of the classes to track; None for all. Others pass through unchanged.
        filter_gallery: Do not write detections of tracked classes that have no name.
        temporal: Temporal association (``gallery_hybrid``).
        gallery: A gtrack gallery, the address of a served one, or a tree of image folders; None to track without
            names.
        embedder: The ReID model.
        reid_frequency: Frames between two observations of a track, on average (``gallery_hybrid``).
        gallery_match_threshold: Largest cosine distance at which an identity is given, in [0, 2]; None for the
            calibrated threshold of the gallery, else `gallery_db.DEFAULT_THRESHOLD`.
        backfill: Write the final names on earlier frames too, in a second pass (``gallery_hybrid``). None: where tracks
            of a file are enrolled, so that every name that the run gives is in the gallery.
        search: How the gallery is searched: ``exact`` compares with every entry, ``auto`` gives the same answers
            sooner, ``hnsw`` asks Chroma's index, approximately.
        explain: Explain each decision: ``explanations`` in ``tracked.json``, and the picture ``explain.jpg``
            (``gallery_hybrid``).
        class_names: Names by class id, for detections without one.
        frame_range: First frame and the one after the last; None for open ends.
        lenient: Leave unusable detections out, counted, instead of refusing the file.
        output: What to save.
        enroll: Which tracks to enrol after they have ended: ``off``, ``unknown`` or ``all``.
        source_id: The camera that enrolled tracks are of; the video's stem if None.
        grace_frames: Frames that a track may be out of sight before it has ended.
        save_detections: Also write the detections of a detector to this det-v1 file.
        live: How a camera or a stream is read.
    """

    tracker: str = "gallery_hybrid"
    classes: Classes | None = None
    filter_gallery: bool = False
    temporal: TemporalOptions = field(default_factory=TemporalOptions)
    gallery: str | Path | None = None
    embedder: EmbedderOptions = field(default_factory=EmbedderOptions)
    reid_frequency: int = 10
    gallery_match_threshold: float | None = None
    backfill: bool | None = None
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

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any]) -> RunOptions:
        """Build the options from flat arguments: those of `track_video` and of `gtrack run`.

        An argument is the field of its name, in `RunOptions` or in one of its parts (`TemporalOptions`,
        `EmbedderOptions`, `OutputOptions`, `LiveOptions`), but for ``temporal`` and ``temporal_options``, which are
        the name and the further options of the temporal tracker, and ``reid_weights``, the weights of the embedder.
        Fields of `DetectorOptions` are left to `detector_options`.

        Args:
            arguments: Values by name. ``class_names`` may be all that `read_class_names` accepts, paths may be text.

        Raises:
            OptionError: See `read_class_names`.
            TypeError: There is no such argument.
        """
        values: dict[str, Any] = {}
        parts: dict[str, dict[str, Any]] = {}
        for name, value in arguments.items():
            if name in _FIELDS:
                part, field_name = _FIELDS[name]
                (values if part is None else parts.setdefault(part, {}))[field_name] = _converted(name, value)
            elif name not in _DETECTOR_FIELDS:
                raise TypeError(f"RunOptions has no argument {name!r}")
        return cls(**values, **{part: _PARTS[part](**given) for part, given in parts.items()})

    def resolved(self, video: str | Path) -> RunOptions:
        """Return the options for a video: `backfill` is set."""
        if self.backfill is not None:
            return self
        return replace(self, backfill=self.enroll != "off" and not self.live.live(video))

    def validate(self) -> None:
        """Check all that can be checked before a file is opened or a model loaded.

        Raises:
            OptionError: A value out of range, or a combination of options that makes no sense.
            DisplayError: See `OutputOptions.validate`.
        """
        if self.tracker not in available_trackers():
            raise OptionError(
                f"unknown tracker {self.tracker!r}; expected one of {', '.join(available_trackers())}.",
                field="tracker",
                hint=_tracker_hint(self.tracker),
            )
        self._validate_naming()
        _check_bounds(self.frame_range)
        self._validate_enrolment()
        self.temporal.validate()
        self.output.validate()
        self._validate_pictures()

    def _validate_pictures(self) -> None:
        blur = self.output.blur
        if blur in ("unknown", "named") and self.gallery is None:
            raise OptionError(
                f'`blur="{blur}"` needs names.', field="blur", hint='Give `gallery`, or blur all people: `blur="all"`.'
            )
        if blur is not None and self.filter_gallery:
            raise OptionError(
                "`filter_gallery=True` removes boxes of people that `blur` must cover.",
                field="blur",
                hint="Leave `filter_gallery` out.",
            )
        if blur is not None and self.explain and not self.output.save_json:
            raise OptionError(
                "with `blur`, `explain=True` draws no picture; its reasons are in tracked.json alone.",
                field="explain",
                hint="Use `save_json=True`.",
            )
        if self.tracker == "gallery_hybrid":
            return
        for field_name, needs_tracks in (
            ("trails", self.output.trails > 0),
            ("save_crops", self.output.save_crops is not None),
            ("blur", blur == "named"),
        ):
            if needs_tracks:
                value = '="named"' if field_name == "blur" else ""
                raise OptionError(
                    f"`{field_name}{value}` needs tracks, and tracker {self.tracker} has none.",
                    field=field_name,
                    hint='Use `tracker="gallery_hybrid"`.',
                )

    def _validate_naming(self) -> None:
        is_hybrid = self.tracker == "gallery_hybrid"
        if self.tracker == "gallery_only" and self.gallery is None:
            raise OptionError("tracker gallery_only needs a gallery.", field="gallery", hint="Give one with `gallery`.")
        if self.filter_gallery and self.gallery is None:
            raise OptionError(
                "`filter_gallery=True` without `gallery` would remove all detections.",
                field="filter_gallery",
                hint="Give a gallery with `gallery`.",
            )
        if self.backfill and (self.gallery is None or not is_hybrid):
            raise OptionError(
                "`backfill=True` needs tracks and names.",
                field="backfill",
                hint='Give `gallery`, and `tracker="gallery_hybrid"`.',
            )
        if self.explain and (self.gallery is None or not is_hybrid or not self.output.saves):
            raise OptionError(
                "`explain=True` needs tracks, names and a run folder.",
                field="explain",
                hint='Give `gallery`, `tracker="gallery_hybrid"`, and `save_json=True`.',
            )
        if self.reid_frequency < 1:
            raise OptionError(
                f"`reid_frequency` must be at least 1 frame, found {self.reid_frequency}.", field="reid_frequency"
            )
        threshold = self.gallery_match_threshold
        if threshold is not None and not 0.0 <= threshold <= 2.0:
            raise OptionError(
                f"`gallery_match_threshold` must be a cosine distance from 0 to 2, found {threshold}.",
                field="gallery_match_threshold",
            )
        if self.search not in get_args(Search):
            raise OptionError(
                f"`search` must be one of {', '.join(get_args(Search))}, found {self.search!r}.", field="search"
            )

    def _validate_enrolment(self) -> None:
        if self.enroll not in get_args(EnrolMode):
            raise OptionError(
                f"`enroll` must be one of {', '.join(get_args(EnrolMode))}, found {self.enroll!r}.", field="enroll"
            )
        if self.grace_frames < 0:
            raise OptionError(f"`grace_frames` must be at least 0, found {self.grace_frames}.", field="grace_frames")
        if self.source_id is not None and (not self.source_id.strip() or not self.source_id.isprintable()):
            raise OptionError(f"`source_id` must be printable text, found {self.source_id!r}.", field="source_id")
        if self.enroll == "off":
            return
        if self.gallery is None:
            raise OptionError(
                f'`enroll="{self.enroll}"` needs a gallery to enrol into.',
                field="gallery",
                hint="Give one with `gallery`; if there is none at that path, it is created.",
            )
        if self.tracker != "gallery_hybrid":
            raise OptionError(
                f"tracker {self.tracker} has no tracks to enrol.",
                field="enroll",
                hint='Use `tracker="gallery_hybrid"`.',
            )
        check_enrolment_gallery(location_of(self.gallery))

    @property
    def needs_all_images(self) -> bool:
        """Whether the pixels of every frame are needed, and not only of those in which a track is observed."""
        return (
            self.tracker == "gallery_only"
            or self.temporal.takes_embeddings
            or ((self.output.saves_pictures or self.output.display) and not self.backfill)
        )

    @property
    def needs_score_level(self) -> bool:
        """Whether the thresholds of tracking follow from the detector's scores."""
        return self.tracker == "gallery_hybrid" and self.temporal.track_thresh is None

    def source_id_for(self, video: Path) -> str:
        """Return the camera's name that enrolled tracks of a video get."""
        return self.source_id or video.stem


_PARTS: dict[str, type[Any]] = {
    "temporal": TemporalOptions,
    "embedder": EmbedderOptions,
    "output": OutputOptions,
    "live": LiveOptions,
}


def _argument_fields() -> dict[str, tuple[str | None, str]]:
    """Return for each flat argument the part that it belongs to (None: `RunOptions` itself) and its field there."""
    found: dict[str, tuple[str | None, str]] = {}
    for part, options in _PARTS.items():
        found |= {f.name: (part, f.name) for f in fields(options)}
    found |= {f.name: (None, f.name) for f in fields(RunOptions)}
    # In a flat list, these names would not say what they are of.
    for name, (part, field_name) in {
        "temporal": ("temporal", "name"),
        "temporal_options": ("temporal", "extra"),
        "reid_weights": ("embedder", "weights"),
    }.items():
        found.pop(field_name)
        found[name] = (part, field_name)
    del found["embedder"], found["output"]
    return found


_FIELDS = _argument_fields()
_DETECTOR_FIELDS = frozenset(f.name for f in fields(DetectorOptions)) - {"weights"}


def flat_arguments() -> frozenset[str]:
    """Return the names of all flat arguments that shape a run: its options, its detector's, and its inputs."""
    return frozenset(_FIELDS) | _DETECTOR_FIELDS | {"dets_json", "detect"}


def _converted(name: str, value: Any) -> Any:
    if name == "class_names":
        return read_class_names(value)
    if name in {"out_dir", "save_detections", "save_crops"} and value is not None:
        return Path(value)
    return value


def detector_options(weights: str | Path, arguments: Mapping[str, Any]) -> DetectorOptions:
    """Build the options of a run's detector from the same flat arguments as the run's own.

    Args:
        weights: See `DetectorOptions`.
        arguments: See `RunOptions.from_arguments`; those that are no field of `DetectorOptions` are left out.
    """
    given = {name: _converted(name, value) for name, value in arguments.items() if name in _DETECTOR_FIELDS}
    return DetectorOptions(weights=weights, **given)


def _tracker_hint(name: str) -> str | None:
    if name in available_temporal():
        return f'It is a temporal tracker: give `temporal="{name}"`.'
    return did_you_mean(name, available_trackers())


def check_range(video: str | Path, frame_range: FrameRange, live: LiveOptions) -> None:
    """Check a range of frames, and that a live source, whose frames have no fixed numbers, has none.

    Raises:
        OptionError: The range is empty, or the source is live; see also `LiveOptions.validate`.
    """
    live.validate(video)
    _check_bounds(frame_range)
    if frame_range != (None, None) and live.live(video):
        raise OptionError(
            "`frame_range` is for video files: a live source numbers its frames as they come.",
            field="frame_range",
            hint="Limit it with `max_frames` or `duration`.",
        )


_MAX_FRAME_DIGITS = 10


def _check_bounds(frame_range: FrameRange) -> None:
    start, stop = frame_range
    if (
        (start is not None and start < 0)
        or (stop is not None and stop <= (start or 0))
        or max(start or 0, stop or 0) >= 2**31
    ):
        raise OptionError(
            f"`frame_range` must be A and B with 0 <= A < B < 2^31, found {start} and {stop}.", field="frame_range"
        )


def parse_range(text: str | None) -> tuple[int | None, int | None]:
    """Read a range of frames such as ``400:`` or ``0:400``: frames A up to, not including, B.

    Args:
        text: ``A:B``, where A, B or both may be left out; None for all frames.

    Returns:
        A and B, None where left out.

    Raises:
        OptionError: The text has another form.
    """
    if text is None:
        return None, None
    parts = text.split(":")
    if len(parts) != 2 or not all(p == "" or (p.isdecimal() and len(p) <= _MAX_FRAME_DIGITS) for p in parts):
        raise OptionError(
            f"a range of frames must be A:B (frames A up to, not including, B), such as 400: or 0:400, "
            f"found {show(text)}.",
            field="frame_range",
        )
    start, stop = (int(p) if p else None for p in parts)
    return start, stop


def read_class_names(names: str | Path | Mapping[int, str] | Sequence[str] | None) -> dict[int, str]:
    """Return class names by id, from a mapping, a list, or a file with one name a line.

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
                f"class names {names} cannot be read: {error}.",
                field="class_names",
                hint="Expected a text file with one name a line.",
            ) from error
    return {i: name.strip() for i, name in enumerate(names) if name.strip()}
