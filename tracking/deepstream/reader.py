"""Read a batch of DeepStream into plain data: frames, objects, and embeddings.

The structures are those of ``nvdsmeta.h``, ``gstnvdsinfer.h`` and ``nvds_tracker_meta.h``, as pyds shows them. Vectors
are read with ctypes, without the NumPy arrays of pyds: pyds 1.2 is for NumPy 1, and gtrack needs NumPy 2.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tracking.errors import ObservationError, OptionError

__all__ = [
    "UNTRACKED",
    "DeepStreamFrame",
    "DeepStreamObject",
    "DeepStreamReader",
    "EmbeddingOrigin",
    "ObjReid",
    "import_pyds",
]

UNTRACKED = 0xFFFFFFFFFFFFFFFF
"""``object_id`` of an object without a track (``UNTRACKED_OBJECT_ID``)."""

EmbeddingOrigin = Literal["sgie", "tracker", "none"]
"""Source of embeddings: nvinfer with ``output-tensor-meta=1``, nvtracker with ``outputReidTensor: 1``, or none."""


class ObjReid(ctypes.Structure):
    """``NvDsObjReid`` with its layout in memory."""

    _fields_ = (("featureSize", ctypes.c_uint32), ("ptr_host", ctypes.c_void_p), ("ptr_dev", ctypes.c_void_p))


@dataclass(frozen=True, slots=True, eq=False)
class DeepStreamObject:
    """One object of a frame.

    Attributes:
        object_id: Id of its track; `UNTRACKED` if it has none.
        class_id: Class id of the detector.
        label: Class name of the detector; may be empty.
        box: xyxy in pixels of nvstreammux.
        confidence: Confidence of the detector in [0, 1]; -0.1 if only the tracker found the object, or clustering lost
            the value.
        tracker_confidence: Confidence of the tracker in [0, 1]; -0.1 if it gives none.
        embedding: (D,) float32 output of the network, not of unit length; None if this frame has none.
    """

    object_id: int
    class_id: int
    label: str
    box: tuple[float, float, float, float]
    confidence: float = 1.0
    tracker_confidence: float = 1.0
    embedding: NDArray[np.float32] | None = None

    @property
    def tracked(self) -> bool:
        """Whether the object has a track."""
        return self.object_id != UNTRACKED

    @property
    def score(self) -> float:
        """The detector's confidence, else the tracker's, else 1; in [0, 1]."""
        for value in (self.confidence, self.tracker_confidence):
            if value >= 0.0:
                return min(1.0, value)
        return 1.0


@dataclass(frozen=True, slots=True, eq=False)
class DeepStreamFrame:
    """One frame of a batch.

    Attributes:
        source_id: Id of the camera; nvstreammux uses the number of its pad.
        frame_num: Number of the frame in its source.
        size: Width and height of the frame before nvstreammux, in pixels.
        objects: All objects in the frame.
        pad_index: Index of the pad of nvstreammux.
        batch_id: Index of the frame in the batch.
        buf_pts: Presentation time in nanoseconds.
        ntp_timestamp: Time of the frame in nanoseconds since 1970; 0 if the source has none.
    """

    source_id: int
    frame_num: int
    size: tuple[int, int]
    objects: tuple[DeepStreamObject, ...] = ()
    pad_index: int = 0
    batch_id: int = 0
    buf_pts: int = 0
    ntp_timestamp: int = 0


def import_pyds() -> Any:
    """Import NVIDIA's Python binding of DeepStream.

    Raises:
        OptionError: It is not installed.
    """
    try:
        return import_module("pyds")
    except ImportError as error:
        raise OptionError(
            f"pyds, NVIDIA's Python binding of DeepStream, cannot be imported: {error}.",
            hint="It is not in a package index: run this in a DeepStream container with pyds, or give `pyds`.",
        ) from error


class DeepStreamReader:
    """Reads the metadata of batches.

    Args:
        pyds: NVIDIA's binding, or a replacement (`RecordedPyds`); None to import it.
        embeddings: Source of the embeddings; see `EmbeddingOrigin`.
        gie_id: ``gie-unique-id`` of the secondary nvinfer; None if only one nvinfer attaches tensors to objects.
        layer: Name of its output layer; None if it has only one.
        dimension: Expected length D of the embeddings; None for any.

    Attributes:
        pyds: The binding.

    Raises:
        OptionError: pyds is not installed, or too old for embeddings of the tracker.
    """

    def __init__(
        self,
        pyds: Any = None,
        *,
        embeddings: EmbeddingOrigin = "sgie",
        gie_id: int | None = None,
        layer: str | None = None,
        dimension: int | None = None,
    ) -> None:
        if embeddings not in get_args(EmbeddingOrigin):
            raise OptionError(
                f"embeddings: expected one of {', '.join(get_args(EmbeddingOrigin))}, found {embeddings!r}."
            )
        self.pyds = import_pyds() if pyds is None else pyds
        self._origin = embeddings
        self._gie_id = gie_id
        self._layer = layer
        self._dimension = dimension
        if embeddings == "tracker" and not hasattr(self.pyds, "NvDsObjReid"):
            # Up to DeepStream 6, the same metadata held an index in place of the address.
            raise OptionError(
                "this pyds has no NvDsObjReid, so embeddings of the tracker cannot be read.",
                hint='Use pyds 1.2 with DeepStream 7.1 or later, or a secondary nvinfer (`embeddings="sgie"`).',
            )

    def read(self, batch_meta: Any) -> list[DeepStreamFrame]:
        """Return the frames of a batch, as copies.

        Args:
            batch_meta: The result of ``pyds.gst_buffer_get_nvds_batch_meta``, while the probe runs.

        Raises:
            ObservationError: A tensor cannot be used; names the source, the frame and the object.
        """
        return [frame for frame, _ in self.read_with_meta(batch_meta)]

    def read_with_meta(self, batch_meta: Any) -> Iterator[tuple[DeepStreamFrame, list[Any]]]:
        """Yield the frames as `read` does, each with the ``NvDsObjectMeta`` of its objects."""
        pyds = self.pyds
        for frame in _items(batch_meta.frame_meta_list, pyds.NvDsFrameMeta.cast):
            metas = list(_items(frame.obj_meta_list, pyds.NvDsObjectMeta.cast))
            where = f"source {frame.source_id}, frame {frame.frame_num}"
            yield (
                DeepStreamFrame(
                    int(frame.source_id),
                    int(frame.frame_num),
                    (int(frame.source_frame_width), int(frame.source_frame_height)),
                    tuple(self._object(where, meta) for meta in metas),
                    int(frame.pad_index),
                    int(frame.batch_id),
                    int(frame.buf_pts),
                    int(frame.ntp_timestamp),
                ),
                metas,
            )

    def _object(self, where: str, meta: Any) -> DeepStreamObject:
        """Return one object; `where` names its frame in messages."""
        rect = meta.rect_params
        left, top = float(rect.left), float(rect.top)
        object_id = int(meta.object_id)
        where = f"{where}, object {'without a track' if object_id == UNTRACKED else object_id}"
        return DeepStreamObject(
            object_id,
            int(meta.class_id),
            str(meta.obj_label),
            (left, top, left + float(rect.width), top + float(rect.height)),
            float(meta.confidence),
            float(meta.tracker_confidence),
            self._embedding(where, meta),
        )

    def _embedding(self, where: str, meta: Any) -> NDArray[np.float32] | None:
        """Return the embedding of an object; None if it has none."""
        pyds = self.pyds
        if self._origin == "none":
            return None
        types = pyds.NvDsMetaType
        wanted = types.NVDSINFER_TENSOR_OUTPUT_META if self._origin == "sgie" else types.NVDS_TRACKER_OBJ_REID_META
        metas = [
            user
            for user in _items(meta.obj_user_meta_list, pyds.NvDsUserMeta.cast)
            if user.base_meta.meta_type == wanted and user.user_meta_data is not None
        ]
        if self._origin == "tracker":
            return self._tracker_embedding(where, metas[0].user_meta_data) if metas else None
        tensors = [pyds.NvDsInferTensorMeta.cast(user.user_meta_data) for user in metas]
        components = sorted({int(tensor.unique_id) for tensor in tensors})
        if self._gie_id is None and len(components) > 1:
            raise ObservationError(
                f"{where}: there are tensors of the components {', '.join(map(str, components))}, and it is not "
                "known which of them is the embedding.",
                hint="Give the gie-unique-id of the ReID network as gie_id.",
            )
        for tensor in tensors:
            if self._gie_id is None or int(tensor.unique_id) == self._gie_id:
                return self._tensor_embedding(where, tensor)
        return None

    def _tensor_embedding(self, where: str, tensor: Any) -> NDArray[np.float32]:
        """Return the output layer of a secondary nvinfer."""
        pyds = self.pyds
        # This call also puts the host's buffer into the layer.
        layers = [pyds.get_nvds_LayerInfo(tensor, number) for number in range(int(tensor.num_output_layers))]
        names = [str(layer.layerName) for layer in layers]
        if self._layer is None and len(layers) != 1:
            raise ObservationError(
                f"{where}: the network of component {tensor.unique_id} has {len(layers)} output layers "
                f"({', '.join(names)}), and it is not known which of them is the embedding.",
                hint="Give its name as layer.",
            )
        if self._layer is not None and self._layer not in names:
            raise ObservationError(
                f"{where}: the network of component {tensor.unique_id} has no output layer {self._layer!r}; "
                f"it has {', '.join(names)}.",
            )
        layer = layers[0 if self._layer is None else names.index(self._layer)]
        types = pyds.NvDsInferDataType
        if layer.dataType not in (types.FLOAT, types.HALF):
            raise ObservationError(
                f"{where}: layer {layer.layerName} is of type {_type_name(layer.dataType)}; expected FLOAT or HALF.",
                hint="Run the network's last layer in floating point.",
            )
        address = 0 if layer.buffer is None else int(pyds.get_ptr(layer.buffer))
        size = self._checked_size(where, int(layer.inferDims.numElements), f"layer {layer.layerName}")
        if not address:
            raise ObservationError(
                f"{where}: layer {layer.layerName} has no buffer on the host: its tensor is only on the device.",
                hint="Remove disable-output-host-copy=1 from the configuration of nvinfer.",
            )
        return _copy(address, size, half=layer.dataType == types.HALF)

    def _tracker_embedding(self, where: str, data: Any) -> NDArray[np.float32] | None:
        """Return the ReID vector of the tracker; None if it is empty."""
        reid = ObjReid.from_address(int(self.pyds.get_ptr(data)))
        if not reid.featureSize:
            return None
        size = self._checked_size(where, int(reid.featureSize), "the tracker's ReID vector")
        if not reid.ptr_host:
            raise ObservationError(
                f"{where}: the tracker's ReID vector is only on the device.",
                hint='Use a secondary nvinfer for the embeddings (`embeddings="sgie"`).',
            )
        return _copy(int(reid.ptr_host), size)

    def _checked_size(self, where: str, size: int, what: str) -> int:
        """Return the size of a vector if it is the expected one."""
        # Check it before reading: with a wrong size, memory after the buffer would be read.
        if size < 1 or (self._dimension is not None and size != self._dimension):
            expected = self._dimension or "at least 1"
            raise ObservationError(
                f"{where}: {what} has {size} values; expected {expected}, as in the gallery's model.",
                hint="Check that the layer and the model belong together.",
            )
        return size


def _items(node: Any, cast: Callable[[Any], Any]) -> Iterator[Any]:
    """Yield the items of a GList. It ends with None, or in old versions of pyds with StopIteration."""
    while node is not None:
        try:
            item = cast(node.data)
        except StopIteration:
            return
        yield item
        try:
            node = node.next
        except StopIteration:
            return


def _copy(address: int, size: int, *, half: bool = False) -> NDArray[np.float32]:
    """Copy a vector from memory."""
    ctype, dtype = (ctypes.c_uint16, np.float16) if half else (ctypes.c_float, np.float32)
    buffer: Any = (ctype * size).from_address(address)
    copied: NDArray[np.float32] = np.frombuffer(buffer, dtype).astype(np.float32)  # a copy, because the buffer is freed
    return copied


def _type_name(value: Any) -> str:
    return str(getattr(value, "name", value))
