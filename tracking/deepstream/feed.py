"""From a pad probe of a DeepStream pipeline to a `TrackEnroller`."""

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
from tracking.enrolment.track_enroller import TrackEnroller, TrackName, TrackObservation
from tracking.video.crops import crop

__all__ = ["DeepStreamFeed", "DeepStreamNames"]


@dataclass(frozen=True, slots=True)
class DeepStreamNames:
    """Who is in one frame of a batch.

    Attributes:
        source: The camera's name.
        frame: What DeepStream said.
        names: One for each of the frame's objects; None for those without a track, and of other classes.
    """

    source: str
    frame: DeepStreamFrame
    names: tuple[TrackName | None, ...]


class DeepStreamFeed:
    """Hands the tracks and embeddings of a DeepStream pipeline to a `TrackEnroller`.

    ::

        with TrackEnroller("gallery", model=model) as enroller:
            feed = DeepStreamFeed(enroller, classes=[2], frame_size=(1920, 1080))
            reid.get_static_pad("src").add_probe(Gst.PadProbeType.BUFFER, feed.probe, None)
            ...  # run the pipeline
            feed.check()

    A source whose frame numbers begin anew (a file that loops, a camera that was added again) has begun a new stay.

    Args:
        enroller: Where they go.
        pyds: NVIDIA's binding, or what stands for it (`RecordedPyds`); None to import it.
        embeddings: Where they come from: ``"sgie"``, a secondary nvinfer behind the tracker with
            ``output-tensor-meta=1``; ``"tracker"``, nvtracker with ``outputReidTensor: 1``; ``"none"``.
        gie_id: ``gie-unique-id`` of that nvinfer; None where only one attaches tensors to objects.
        layer: Name of its output layer; None where it has only one.
        classes: Class ids of the objects that count; None for all. (Objects that a secondary detector added have class
            ids of their own.)
        class_names: Names by class id; by default the detector's labels.
        sources: Names of the cameras by ``source_id``; ``source-0`` and so on by default.
        frame_size: Width and height that nvstreammux scales to, in pixels, in which the boxes then are. None where it
            does not scale (the new nvstreammux): the size of each source.
        image: Gives the picture of a whole frame, (H, W, 3) uint8 BGR, or None; called with the frame and its
            ``Gst.Buffer``, where an embedding of the frame is taken. Without it looks count as sharp, and what is
            enrolled has no picture.
        lenient: Leave embeddings that are zero or not finite, boxes without area, and frames that come twice, out and
            count them, rather than raise.
        show_names: Write each name to the object's ``text_params.display_text``, which nvdsosd draws.
        notify: Takes one-line messages.

    Attributes:
        reader: Reads the metadata.
        failure: What went wrong in `probe`, which lets the pipeline run on; None if nothing did.
        left_out: With `lenient`: how many embeddings, boxes and frames were left out, by reason.

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
        self._last: dict[str, int] = {}

    def source_name(self, source_id: int) -> str:
        """What a source is called in the gallery."""
        return self._sources.get(source_id, f"source-{source_id}")

    def feed(self, batch_meta: Any, buffer: Any = None) -> list[DeepStreamNames]:
        """Take a batch, and say who is in it, frame by frame.

        Args:
            batch_meta: As ``pyds.gst_buffer_get_nvds_batch_meta`` gives it, while the probe runs.
            buffer: The ``Gst.Buffer`` that it belongs to, for `image`.

        Raises:
            ObservationError: Something of it cannot be used; names the source, the frame and the object.
            GtrackError: As of `TrackEnroller.observe`.
        """
        found = []
        for frame, metas in self.reader.read_with_meta(batch_meta):
            source = self.source_name(frame.source_id)
            if frame.frame_num < self._last.get(source, -1):
                self._notify(f"{source} begins anew, with frame {frame.frame_num} after frame {self._last[source]}.")
                self._enroller.end(source)
            elif self._lenient and frame.frame_num == self._last.get(source):
                self._leave_out("the frame came twice")
                continue
            chosen = [
                n for n, one in enumerate(frame.objects) if self._classes is None or one.class_id in self._classes
            ]
            size = self._frame_size or (frame.size if min(frame.size) > 0 else None)
            picture = None if self._image is None else _Picture(self._image, frame, buffer, size)
            observations = [self._sighting(frame.objects[n], picture) for n in chosen]
            answers = self._enroller.observe(source, frame.frame_num, observations, frame_size=size)
            self._last[source] = frame.frame_num
            names: list[TrackName | None] = [None] * len(metas)
            for number, name in zip(chosen, answers, strict=True):
                names[number] = name
                if self._show and name is not None and name.identity is not None:
                    metas[number].text_params.display_text = name.identity
            found.append(DeepStreamNames(source, frame, tuple(names)))
        return found

    def _sighting(self, one: DeepStreamObject, picture: _Picture | None) -> TrackObservation:
        embedding, box = one.embedding, one.box
        if self._lenient:
            if embedding is not None and not _has_direction(embedding):
                self._leave_out("the embedding is zero or not finite")
                embedding = None
            if not all(map(math.isfinite, box)) or box[2] <= box[0] or box[3] <= box[1]:
                self._leave_out("the box has no area")
                return TrackObservation(one.object_id if one.tracked else None, score=one.score)
        return TrackObservation(
            one.object_id if one.tracked else None,
            embedding,
            box,
            one.score,
            self._class_names.get(one.class_id) or one.label or None,
            None if picture is None else partial(picture.crop, box),
        )

    def _leave_out(self, reason: str) -> None:
        self.left_out[reason] = self.left_out.get(reason, 0) + 1

    def end(self, source_id: int) -> None:
        """A source's stream has ended (``GST_NVEVENT_STREAM_EOS``): so have its tracks."""
        source = self.source_name(source_id)
        self._last.pop(source, None)
        self._enroller.end(source)

    def probe(self, pad: Any, info: Any, *data: Any) -> Any:
        """A buffer probe, for ``pad.add_probe(Gst.PadProbeType.BUFFER, feed.probe, None)``.

        Behind nvtracker and the ReID network. It always returns ``Gst.PadProbeReturn.OK``: the first error is kept in
        `failure` and told, the pipeline runs on, and nothing more is taken; see `check`.
        """
        if self.failure is None:
            try:
                buffer = info.get_buffer()
                batch_meta = None if buffer is None else self.reader.pyds.gst_buffer_get_nvds_batch_meta(hash(buffer))
                if batch_meta is not None:
                    self.feed(batch_meta, buffer)
            except Exception as error:  # noqa: BLE001 - GStreamer would print it, and drop the frame
                self.failure = error
                self._notify(f"warning: names and enrolment have stopped: {error}")
        return import_module("gi.repository.Gst").PadProbeReturn.OK

    def check(self) -> None:
        """Raise what went wrong in `probe`, if anything did; to be called after the pipeline."""
        if self.failure is not None:
            raise self.failure


class _Picture:
    """A frame's picture, asked for when the first of its boxes is cut out."""

    def __init__(
        self,
        image: Callable[[DeepStreamFrame, Any], NDArray[np.uint8] | None],
        frame: DeepStreamFrame,
        buffer: Any,
        size: tuple[int, int] | None,
    ) -> None:
        self._ask = partial(image, frame, buffer)
        self._size = size
        self._asked = False
        self._image: NDArray[np.uint8] | None = None

    def crop(self, box: tuple[float, float, float, float]) -> NDArray[np.uint8] | None:
        """(H, W, 3) a box's part of it; None where it shows nothing."""
        if not self._asked:
            self._image, self._asked = self._ask(), True
        image = self._image
        if image is None:
            return None
        height, width = image.shape[:2]
        across, down = self._size or (width, height)
        scale = np.array([width / across, height / down] * 2)
        parts, _ = crop(image, (np.asarray(box) * scale)[None])
        return parts[0] if parts else None


def _has_direction(embedding: Any) -> bool:
    norm = float(np.linalg.norm(np.asarray(embedding, np.float64)))
    return math.isfinite(norm) and norm > 1e-12
