"""Pass tracks and embeddings from a pad probe of a DeepStream pipeline to a `TrackEnroller`."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.deepstream.reader import DeepStreamFrame, DeepStreamObject, DeepStreamReader, EmbeddingOrigin
from tracking.enrolment.track_enroller import TrackEnroller, TrackName
from tracking.enrolment.track_observation import TrackObservation
from tracking.video.crops import crop

__all__ = ["DeepStreamFeed", "DeepStreamNames"]


@dataclass(frozen=True, slots=True)
class DeepStreamNames:
    """The names of the tracks in one frame of a batch.

    Attributes:
        source: Name of the camera.
        frame: The frame's metadata.
        names: One for each object of the frame; None for objects without a track and of other classes.
    """

    source: str
    frame: DeepStreamFrame
    names: tuple[TrackName | None, ...]


class DeepStreamFeed:
    """Passes the tracks and embeddings of a DeepStream pipeline to a `TrackEnroller`.

    ::

        with TrackEnroller("gallery", model=model) as enroller:
            feed = DeepStreamFeed(enroller, classes=[2], frame_size=(1920, 1080))
            reid.get_static_pad("src").add_probe(Gst.PadProbeType.BUFFER, feed.probe, None)
            ...  # run the pipeline
            feed.check()

    If the frame numbers of a source start again (a file that loops, a camera that was added again), its tracks end and
    new ones begin.

    Args:
        enroller: Receives the tracks.
        pyds: NVIDIA's binding, or a replacement (`RecordedPyds`); None to import it.
        embeddings: Source of the embeddings: ``"sgie"``, a secondary nvinfer after the tracker with
            ``output-tensor-meta=1``; ``"tracker"``, nvtracker with ``outputReidTensor: 1``; or ``"none"``.
        gie_id: ``gie-unique-id`` of that nvinfer; None if only one nvinfer attaches tensors to objects.
        layer: Name of its output layer; None if it has only one.
        classes: Class ids of the objects to use; None for all. (Objects of a secondary detector have its class ids.)
        class_names: Class id to name; the detector's labels by default.
        sources: ``source_id`` to the name of the camera; ``source-0`` and so on by default.
        frame_size: Width and height in pixels to which nvstreammux scales, if it does; boxes are in these pixels. None
            if it does not scale (the new nvstreammux): boxes are in the pixels of each source.
        image: Returns the image of a whole frame, (H, W, 3) uint8 BGR, or None. It is called with the frame and its
            ``Gst.Buffer`` when a crop of the frame is needed. Without it, crops count as sharp, and enrolled entries
            have no picture.
        lenient: Leave out embeddings that are zero or not finite, boxes without area, and repeated frames, and count
            them, instead of raising an error.
        show_names: Write each name to the object's ``text_params.display_text``, which nvdsosd draws.
        notify: Called with one-line messages.

    Attributes:
        reader: Reads the metadata.
        failure: The first error in `probe`, after which the pipeline continues without names; None if there is none.
        left_out: With `lenient`, the number of embeddings, boxes and frames left out, by reason.

    Raises:
        OptionError: See `DeepStreamReader`.
    """

    def __init__(
        self,
        enroller: TrackEnroller,
        pyds: Any = None,
        *,
        embeddings: EmbeddingOrigin = "sgie",
        gie_id: int | None = None,
        layer: str | None = None,
        classes: Collection[int] | None = None,
        class_names: Mapping[int, str] | None = None,
        sources: Mapping[int, str] | None = None,
        frame_size: tuple[int, int] | None = None,
        image: Callable[[DeepStreamFrame, Any], NDArray[np.uint8] | None] | None = None,
        lenient: bool = False,
        show_names: bool = True,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        self.reader = DeepStreamReader(
            pyds,
            embeddings=embeddings,
            gie_id=gie_id,
            layer=layer,
            dimension=enroller.model.dimension,
        )
        self.failure: Exception | None = None
        self.left_out: dict[str, int] = {}
        self._enroller = enroller
        self._classes = None if classes is None else frozenset(classes)
        self._class_names = dict(class_names or {})
        self._sources = dict(sources or {})
        self._frame_size = frame_size
        self._image = image
        self._lenient = lenient
        self._show = show_names
        self._notify = notify or (lambda message: None)
        self._last_frames: dict[str, int] = {}

    def source_name(self, source_id: int) -> str:
        """Return the name of a source in the gallery."""
        return self._sources.get(source_id, f"source-{source_id}")

    def feed(self, batch_meta: Any, buffer: Any = None) -> list[DeepStreamNames]:
        """Pass a batch to the enroller. Return the names in each of its frames.

        Args:
            batch_meta: The result of ``pyds.gst_buffer_get_nvds_batch_meta``, while the probe runs.
            buffer: The batch's ``Gst.Buffer``, for `image`.

        Raises:
            ObservationError: A value cannot be used; names the source, the frame and the object.
            GtrackError: See `TrackEnroller.observe`.
        """
        found = []
        for frame, metas in self.reader.read_with_meta(batch_meta):
            source = self.source_name(frame.source_id)
            if frame.frame_num < self._last_frames.get(source, -1):
                self._notify(
                    f"{source} starts again, with frame {frame.frame_num} after frame {self._last_frames[source]}."
                )
                self._enroller.end(source)
            elif self._lenient and frame.frame_num == self._last_frames.get(source):
                self._count_left_out("the frame is repeated")
                continue
            chosen = [
                n for n, one in enumerate(frame.objects) if self._classes is None or one.class_id in self._classes
            ]
            size = self._frame_size or (frame.size if min(frame.size) > 0 else None)
            image = None if self._image is None else _FrameImage(self._image, frame, buffer, size)
            observations = [self._observation(frame.objects[n], image) for n in chosen]
            time = frame.ntp_timestamp / 1e9 if frame.ntp_timestamp else None
            track_names = self._enroller.observe(source, frame.frame_num, observations, frame_size=size, time=time)
            self._last_frames[source] = frame.frame_num
            names: list[TrackName | None] = [None] * len(metas)
            for number, name in zip(chosen, track_names, strict=True):
                names[number] = name
                if self._show and name is not None and name.identity is not None:
                    metas[number].text_params.display_text = name.identity
            found.append(DeepStreamNames(source, frame, tuple(names)))
        return found

    def _observation(self, one: DeepStreamObject, image: _FrameImage | None) -> TrackObservation:
        """Return the observation of one object."""
        embedding, box = one.embedding, one.box
        if self._lenient:
            if embedding is not None and not _is_usable(embedding):
                self._count_left_out("the embedding is zero or not finite")
                embedding = None
            if not all(map(math.isfinite, box)) or box[2] <= box[0] or box[3] <= box[1]:
                self._count_left_out("the box has no area")
                return TrackObservation(one.object_id if one.tracked else None, score=one.score)
        return TrackObservation(
            one.object_id if one.tracked else None,
            embedding,
            box,
            one.score,
            self._class_names.get(one.class_id) or one.label or None,
            None if image is None else partial(image.crop, box),
        )

    def _count_left_out(self, reason: str) -> None:
        self.left_out[reason] = self.left_out.get(reason, 0) + 1

    def end(self, source_id: int) -> None:
        """End the tracks of a source whose stream has ended (``GST_NVEVENT_STREAM_EOS``)."""
        source = self.source_name(source_id)
        self._last_frames.pop(source, None)
        self._enroller.end(source)

    def probe(self, pad: Any, info: Any, *data: Any) -> Any:
        """Handle a buffer, as a probe for ``pad.add_probe(Gst.PadProbeType.BUFFER, feed.probe, None)``.

        The pad must be after nvtracker and the ReID network. It always returns ``Gst.PadProbeReturn.OK``: the first
        error is stored in `failure` and reported, and later buffers are ignored while the pipeline continues; see
        `check`.
        """
        if self.failure is None:
            try:
                buffer = info.get_buffer()
                batch_meta = None if buffer is None else self.reader.pyds.gst_buffer_get_nvds_batch_meta(hash(buffer))
                if batch_meta is not None:
                    self.feed(batch_meta, buffer)
            except Exception as error:  # noqa: BLE001 - GStreamer would print the error, and drop the frame
                self.failure = error
                self._notify(f"warning: identification and enrolment have stopped: {error}")
        return import_module("gi.repository.Gst").PadProbeReturn.OK

    def check(self) -> None:
        """Raise the error that occurred in `probe`, if any. Call this when the pipeline has ended."""
        if self.failure is not None:
            raise self.failure


class _FrameImage:
    """The image of a frame, which is asked for when the first of its boxes is cut out."""

    def __init__(
        self,
        image: Callable[[DeepStreamFrame, Any], NDArray[np.uint8] | None],
        frame: DeepStreamFrame,
        buffer: Any,
        size: tuple[int, int] | None,
    ) -> None:
        self._get_image = partial(image, frame, buffer)
        self._size = size
        self._is_loaded = False
        self._image: NDArray[np.uint8] | None = None

    def crop(self, box: tuple[float, float, float, float]) -> NDArray[np.uint8] | None:
        """Return the crop of a box, (H, W, 3) uint8 BGR; None if there is no image, or nothing in the box."""
        if not self._is_loaded:
            self._image, self._is_loaded = self._get_image(), True
        image = self._image
        if image is None:
            return None
        height, width = image.shape[:2]
        box_width, box_height = self._size or (width, height)
        scale = np.array([width / box_width, height / box_height] * 2)
        parts, _ = crop(image, (np.asarray(box) * scale)[None])
        return parts[0] if parts else None


def _is_usable(embedding: Any) -> bool:
    """Whether an embedding is finite and not zero."""
    norm = float(np.linalg.norm(np.asarray(embedding, np.float64)))
    return math.isfinite(norm) and norm > 1e-12
