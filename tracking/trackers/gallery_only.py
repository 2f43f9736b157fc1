"""The tracker `gallery_only`: each detection is compared with the gallery by itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from gallery_db.errors import GtrackError
from gallery_db.model import Embedder
from tracking.detections.base import FrameDetections
from tracking.errors import VideoError
from tracking.identification.assignment import name_detections
from tracking.identification.gallery_comparison import IdentitySource
from tracking.identification.named_tracklets import Named
from tracking.trackers.base import FrameTracks, Pixels
from tracking.video.crops import crop

__all__ = ["GalleryOnly"]

_GROUP_FRAMES, _GROUP_CROPS = 4, 32
"""Frames and crops at which a group is embedded. Two groups at a time keep their frames in memory."""


class _Detected(Protocol):
    """A frame with its detections, as `tracking.run.inputs.DetectedFrame`."""

    @property
    def number(self) -> int: ...
    @property
    def detections(self) -> FrameDetections: ...
    @property
    def pixels(self) -> Pixels: ...


Frame = TypeVar("Frame", bound=_Detected)


class _Embedded(NamedTuple):
    """The rows of a frame's detections with a visible part, and their embeddings."""

    kept: NDArray[np.int64]
    embeddings: NDArray[np.float32]


@dataclass(slots=True)
class _Group(Generic[Frame]):
    """Frames that are embedded together.

    Attributes:
        frames: The frames.
        crops: The crops of each, by frame number, and the rows of their detections.
        failure: The error that came after the last of them.
    """

    frames: list[Frame] = field(default_factory=list)
    crops: dict[int, tuple[list[NDArray[np.uint8]], NDArray[np.int64]]] = field(default_factory=dict)
    failure: Exception | None = None


def _groups(frames: Iterator[Frame]) -> Iterator[_Group[Frame]]:
    """Collect frames into groups. An error ends the last group, after the frames that came before it."""
    group: _Group[Frame] = _Group()
    count = 0
    while True:
        try:
            frame = next(frames, None)
        except Exception as error:  # noqa: BLE001  raised when the run has come to this frame
            group.failure = error
            break
        if frame is None:
            break
        group.frames.append(frame)
        if len(frame.detections):
            with suppress(VideoError):  # `update` meets it again
                group.crops[frame.number] = crop(frame.pixels.image(), frame.detections.boxes)
                count += len(group.crops[frame.number][0])
        if len(group.frames) >= _GROUP_FRAMES or count >= _GROUP_CROPS:
            yield group
            group, count = _Group(), 0
    if group.frames or group.failure is not None:
        yield group


class GalleryOnly:
    """Names every detection of every frame by itself, without association over time.

    The track id is the detection's index in its frame.

    Args:
        embedder: The ReID model of the gallery.
        source: The gallery's view.
        threshold: Largest cosine distance at which a name is given, in [0, 2].
        camera: The camera's name; None where unknown.
    """

    def __init__(
        self, embedder: Embedder, source: IdentitySource, *, threshold: float, camera: str | None = None
    ) -> None:
        self._camera = camera
        self._embedder = embedder
        self._source = source
        self._threshold = threshold
        self._embedded: dict[int, _Embedded] = {}

    def update(
        self, frame: int, detections: FrameDetections, class_names: Sequence[str | None], pixels: Pixels
    ) -> FrameTracks:
        """See `Tracker.update`."""
        count = len(detections)
        named: list[Named | None] = [None] * count
        kept: NDArray[np.int64] = np.empty(0, np.int64)
        if count:
            embedded = self._embedded.pop(frame, None)
            kept, embeddings = self._embed(detections, pixels) if embedded is None else embedded
            found = name_detections(
                self._source, embeddings, [class_names[i] for i in kept], self._threshold, self._camera
            )
            for row, name in zip(kept, found, strict=True):
                named[row] = name
        return FrameTracks(
            np.arange(count),
            [str(int(i)) for i in detections.det_inds],
            None,
            named,
            crops=len(kept),
            statuses=["unknown" if name is None else "known" for name in named],
        )

    def _embed(self, detections: FrameDetections, pixels: Pixels) -> _Embedded:
        crops, kept = crop(pixels.image(), detections.boxes)
        return _Embedded(kept, self._embedder.embed(crops))

    def embed_ahead(self, frames: Iterator[Frame]) -> Generator[Frame, None, None]:
        """Embed the detections of several frames together, in a thread, while earlier frames are named.

        The thread ends with the generator: close it.

        Args:
            frames: Frames in order, whose pixels stay valid.

        Yields:
            The same frames, each before `update` is called for it. An error of a frame is raised at that frame.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="gtrack-embed-ahead") as thread:
            given: deque[tuple[_Group[Frame], Future[None]]] = deque()
            groups = _groups(frames)
            while True:
                group = next(groups, None)
                if group is not None:
                    given.append((group, thread.submit(self._embed_group, group)))
                if given and (group is None or len(given) > 1):
                    first, embedding = given.popleft()
                    embedding.result()
                    yield from first.frames
                    if first.failure is not None:
                        raise first.failure
                elif group is None:
                    return

    def _embed_group(self, group: _Group[Any]) -> None:
        """Embed the crops of a group of frames; where that fails, `update` meets the error at its frame."""
        try:
            embeddings = self._embedder.embed([part for parts, _ in group.crops.values() for part in parts])
        except GtrackError:
            return
        first = 0
        for frame, (parts, kept) in group.crops.items():
            self._embedded[frame] = _Embedded(kept, embeddings[first : first + len(parts)])
            first += len(parts)

    def gallery_changed(self, before: Sequence[str], renamed: Mapping[str, str]) -> None:
        """Do nothing: this tracker keeps no decision from one frame to the next."""
