"""Denormal numbers in ONNX models, which are set to zero because processors compute with them many times slower.

Training with weight decay leaves some. The 751 denormal weights of OSNet x0.25 (of 200,136) made the network five times
slower on an Intel processor, and its embeddings are the same without them. ONNX Runtime's own option
``session.set_denormal_as_zero`` applies to the calling thread only if the first session of the process has it, so it
cannot replace this.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np

from gallery_db.atomic_files import atomic_path
from tracking.errors import WeightsError
from tracking.reid.cache import cache_dir, weights_sha256

__all__ = ["flush_file", "without_denormals", "zero_denormals"]

_FLOAT = 1
"""`onnx.TensorProto.FLOAT`. Denormals of float16 are normal numbers once they are computed with."""

_EXTERNAL = 1
"""`onnx.TensorProto.EXTERNAL`: the values are in a file of their own."""

_MAX_BYTES = 256 << 20
"""Larger models are left as they are: reading them twice takes longer than it may save."""

_FOLDER = "without-denormals"


def _float_bytes(tensor: Any) -> bytes:
    """Return the values of a float32 `onnx.TensorProto` as little-endian bytes.

    The values of `float_data` are taken from the serialized message: read as numbers, denormals may already be zero.
    """
    if tensor.HasField("raw_data"):
        raw: bytes = tensor.raw_data
        return raw
    values = type(tensor)()
    values.CopyFrom(tensor)
    for field, _ in values.ListFields():
        if field.name != "float_data":
            values.ClearField(field.name)
    packed: bytes = values.SerializeToString()
    return packed[len(packed) - 4 * len(values.float_data) :]


def zero_denormals(model: Any) -> int:
    """Set the denormal float32 weights of an `onnx.ModelProto` to zero, in place.

    Returns:
        How many there were.
    """
    tensors = list(model.graph.initializer)
    tensors += [
        a.t for node in model.graph.node if node.op_type == "Constant" for a in node.attribute if a.name == "value"
    ]
    found = 0
    for tensor in tensors:
        if tensor.data_type != _FLOAT or tensor.data_location == _EXTERNAL:
            continue
        values = np.frombuffer(_float_bytes(tensor), "<f4")
        # The exponent bits of a denormal number are zero. Compared as integers, because the processor may take such
        # numbers for zero.
        bits = values.view("<u4")
        denormal = ((bits & 0x7F800000) == 0) & ((bits & 0x007FFFFF) != 0)
        if not (count := int(denormal.sum())):
            continue
        found += count
        tensor.ClearField("float_data")
        tensor.raw_data = np.where(denormal, np.uint32(0), bits).astype("<u4").tobytes()
    return found


def flush_file(path: Path) -> None:
    """Set the denormal weights of an ``.onnx`` file that gtrack has just written to zero."""
    import onnx

    model = onnx.load(str(path))
    if zero_denormals(model):
        onnx.save(model, str(path))


def without_denormals(path: Path) -> Path:
    """Return a file with the same model without denormal weights: `path` itself if it has none.

    The copy is made once for each file and kept in the cache folder. A file that is no ONNX model, or a cache that
    cannot be written, is no error here: `path` is returned.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            return path
        copy = cache_dir() / _FOLDER / f"{weights_sha256(path)}.onnx"
        if copy.is_file():
            # An empty file remembers that the model has no denormal weights.
            return copy if copy.stat().st_size else path
    except (OSError, WeightsError):
        return path
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=False)
        external = any(tensor.data_location == _EXTERNAL for tensor in model.graph.initializer)
        # A model in several files is read beside its own file only.
        found = 0 if external else zero_denormals(model)
        content: bytes = model.SerializeToString() if found else b""
    except Exception:  # noqa: BLE001  onnx and protobuf document no errors; ONNX Runtime says what is wrong.
        return path
    with contextlib.suppress(OSError):
        copy.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(copy) as part:
            part.write_bytes(content)
        return copy if content else path
    return path
