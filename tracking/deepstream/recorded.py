"""Build DeepStream metadata from plain data, for tests and development on machines without DeepStream."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Sequence
from enum import Enum, auto
from types import SimpleNamespace
from typing import Any

import numpy as np

from tracking.deepstream.reader import DeepStreamFrame, DeepStreamObject, EmbeddingOrigin, ObjReid

__all__ = ["RecordedPyds"]


class _MetaType(Enum):
    NVDSINFER_TENSOR_OUTPUT_META = auto()
    NVDS_TRACKER_OBJ_REID_META = auto()
    NVDS_START_USER_META = auto()


class _DataType(Enum):
    FLOAT = auto()
    HALF = auto()
    INT8 = auto()
    INT32 = auto()


class _Pointer:
    """A capsule: an opaque pointer that only functions of pyds can follow."""

    __slots__ = ("_address", "_target")

    def __init__(self, target: Any, address: int = 0) -> None:
        self._target = target
        self._address = address


class _Node:
    """A node of a GList."""

    __slots__ = ("data", "next")

    def __init__(self, data: _Pointer, following: _Node | None) -> None:
        self.data = data
        self.next = following


class _Buffer:
    """A ``Gst.Buffer``, as far as a probe uses it: its hash is its address."""


class RecordedPyds:
    """Replaces ``pyds`` for recorded or made-up batches.

    It has the attributes and functions of pyds that `DeepStreamReader` and `DeepStreamFeed` use. As in pyds, pointers
    need casts and point to their own memory. It can test everything except NVIDIA's own code.

    ::

        pyds = RecordedPyds()
        feed = DeepStreamFeed(enroller, pyds)
        feed.feed(pyds.batch([DeepStreamFrame(...), ...]))
    """

    NvDsMetaType = _MetaType
    NvDsInferDataType = _DataType

    def __init__(self) -> None:
        self.NvDsFrameMeta = SimpleNamespace(cast=_cast)
        self.NvDsObjectMeta = SimpleNamespace(cast=_cast)
        self.NvDsUserMeta = SimpleNamespace(cast=_cast)
        self.NvDsInferTensorMeta = SimpleNamespace(cast=_cast)
        self.NvDsObjReid = SimpleNamespace(cast=_cast)
        self._batches: dict[int, Any] = {}

    def batch(
        self,
        frames: Iterable[DeepStreamFrame],
        *,
        embeddings: EmbeddingOrigin = "sgie",
        gie_id: int = 2,
        layer: str = "embedding",
        half: bool = False,
        on_host: bool = True,
    ) -> Any:
        """Return the ``NvDsBatchMeta`` of frames.

        Args:
            frames: The frames; those of each source in order.
            embeddings: The element that carries the objects' embeddings.
            gie_id: ``gie-unique-id`` of a secondary nvinfer.
            layer: Name of its output layer.
            half: Whether its output is FP16.
            on_host: Whether the embeddings are in the host's memory as well.
        """

        def user_metas(one: DeepStreamObject) -> list[Any]:
            if one.embedding is None or embeddings == "none":
                return []
            if embeddings == "tracker":
                return [_tracker_meta(one.embedding, on_host=on_host)]
            return [_tensor_meta(one.embedding, gie_id, layer, half=half, on_host=on_host)]

        return SimpleNamespace(frame_meta_list=_as_glist([_frame_meta(frame, user_metas) for frame in frames]))

    def buffer(self, batch_meta: Any) -> Any:
        """Return a replacement for the ``Gst.Buffer`` of a batch, for `gst_buffer_get_nvds_batch_meta`."""
        buffer = _Buffer()
        self._batches[hash(buffer)] = (buffer, batch_meta)
        return buffer

    def gst_buffer_get_nvds_batch_meta(self, address: int) -> Any:
        """Return the batch of a buffer, given by the buffer's hash; None if it has none."""
        return self._batches.get(address, (None, None))[1]

    @staticmethod
    def get_ptr(pointer: Any) -> int:
        """Return the address in a pointer."""
        return int(pointer._address)

    @staticmethod
    def get_nvds_LayerInfo(tensor: Any, number: int) -> Any:  # noqa: N802 - the name in pyds
        """Return one output layer, with the host's buffer in it."""
        layer = tensor._layers[number]
        layer.buffer = tensor._host[number]
        return layer


def _cast(pointer: Any) -> Any:
    if not isinstance(pointer, _Pointer):
        raise TypeError(f"incompatible function arguments: a capsule is needed, not {type(pointer).__name__}")
    return pointer._target


def _as_glist(items: Sequence[Any]) -> _Node | None:
    node = None
    for item in reversed(items):
        node = _Node(_Pointer(item), node)
    return node


def _frame_meta(frame: DeepStreamFrame, user: Callable[[DeepStreamObject], list[Any]]) -> Any:
    return SimpleNamespace(
        source_id=frame.source_id,
        pad_index=frame.pad_index,
        batch_id=frame.batch_id,
        frame_num=frame.frame_num,
        buf_pts=frame.buf_pts,
        ntp_timestamp=frame.ntp_timestamp,
        source_frame_width=frame.size[0],
        source_frame_height=frame.size[1],
        num_obj_meta=len(frame.objects),
        obj_meta_list=_as_glist([_object_meta(one, user(one)) for one in frame.objects]),
    )


def _object_meta(one: DeepStreamObject, user: list[Any]) -> Any:
    x1, y1, x2, y2 = one.box
    return SimpleNamespace(
        object_id=one.object_id,
        class_id=one.class_id,
        obj_label=one.label,
        confidence=one.confidence,
        tracker_confidence=one.tracker_confidence,
        rect_params=SimpleNamespace(left=x1, top=y1, width=x2 - x1, height=y2 - y1),
        text_params=SimpleNamespace(display_text=f"{one.label} {one.object_id}"),
        obj_user_meta_list=_as_glist(user),
    )


def _user_meta(kind: _MetaType, data: _Pointer) -> Any:
    return SimpleNamespace(base_meta=SimpleNamespace(meta_type=kind), user_meta_data=data)


def _tensor_meta(embedding: Any, gie_id: int, name: str, *, half: bool, on_host: bool) -> Any:
    values = np.asarray(embedding, np.float16 if half else np.float32)
    memory = ctypes.create_string_buffer(values.tobytes(), values.nbytes)
    layer = SimpleNamespace(
        layerName=name,
        dataType=_DataType.HALF if half else _DataType.FLOAT,
        inferDims=SimpleNamespace(numElements=values.size),
        buffer=None,
    )
    tensor = SimpleNamespace(
        unique_id=gie_id,
        num_output_layers=1,
        _layers=[layer],
        _host=[_Pointer(memory, ctypes.addressof(memory)) if on_host else None],
    )
    return _user_meta(_MetaType.NVDSINFER_TENSOR_OUTPUT_META, _Pointer(tensor))


def _tracker_meta(embedding: Any, *, on_host: bool) -> Any:
    values = np.asarray(embedding, np.float32)
    memory = ctypes.create_string_buffer(values.tobytes(), values.nbytes)
    reid = ObjReid(values.size, ctypes.addressof(memory) if on_host else None, None)
    # The pointer keeps both alive, like the pipeline's pool.
    return _user_meta(_MetaType.NVDS_TRACKER_OBJ_REID_META, _Pointer((reid, memory), ctypes.addressof(reid)))
