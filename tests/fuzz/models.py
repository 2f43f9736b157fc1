"""Fuzzed descriptions of models: sidecars, export stamps, a detector's metadata."""

from __future__ import annotations

import json
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from support.detector_graphs import make_fixed_detector
from support.reid import make_crops, make_onnx

from fuzz.mutation import HOSTILE_NUMBERS, HOSTILE_TEXTS, changed_bytes, changed_json
from fuzz.watch import Target
from tracking import load_embedder
from tracking.detectors.base import DetectorOptions
from tracking.detectors.loader import load_detector
from tracking.reid.input_spec import Preprocessing
from tracking.reid.model_description import describe_model, weights_identity
from tracking.reid.stamp import STAMP_KEY, Stamp, write_stamp

_SIDECAR = {
    "height": 64,
    "width": 32,
    "color": "rgb",
    "scale": 0.00392,
    "mean": [0.4, 0.4, 0.4],
    "std": [0.2, 0.2, 0.2],
    "interpolation": "linear",
    "resize": "pad",
}
_STAMP = Stamp("osnet.pt", "ab" * 32, True, 1.0, 8, Preprocessing(64, 32), "fp32", "0.1.0", 1)


@cache
def _network() -> bytes:
    return _made(lambda path: make_onnx(path, size=("h", "w")), "model.onnx")


@cache
def _stamped() -> bytes:
    def make(path: Path) -> None:
        path.write_bytes(_network())
        write_stamp(path, _STAMP)

    return _made(make, "model.onnx")


def _made(make: Any, name: str) -> bytes:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        make(path)
        return path.read_bytes()


@cache
def _stamp() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(_stamped()[_stamped().rindex(b'{"version"') :])
    return content


def _use(weights: Path) -> None:
    """Load a ReID model, and embed with it."""
    describe_model(weights).preprocessing()
    weights_identity(weights)
    with load_embedder(weights, device="cpu", threads=1) as embedder:
        vectors = embedder.embed(make_crops(2))
        assert np.isfinite(vectors).all()
        str(embedder.model)


def _check_sidecar(content: bytes, folder: Path) -> None:
    weights = folder / "model.onnx"
    weights.write_bytes(_network())
    weights.with_name("model.onnx.gtrack.json").write_bytes(content)
    _use(weights)


def _check_stamp(case: tuple[bytes, str], folder: Path) -> None:
    content, suffix = case
    weights = folder / f"model{suffix}"
    if suffix == ".onnx":
        # The field of the metadata, as `write_stamp` appends it, with other text.
        size = len(content)
        length = b""
        for number in (size, len(STAMP_KEY) + 2 + size + 1 + max(1, (size.bit_length() + 6) // 7)):
            part = b""
            while number > 0x7F:
                part += bytes([number & 0x7F | 0x80])
                number >>= 7
            length = part + bytes([number]) if not length else length + b"|" + part + bytes([number])
        value, _, entry = length.partition(b"|")
        weights.write_bytes(
            _network()
            + b"\x72"
            + entry
            + b"\x0a"
            + bytes([len(STAMP_KEY)])
            + STAMP_KEY.encode()
            + b"\x12"
            + value
            + content
        )
        _use(weights)
        return
    if suffix == ".torchscript":
        with zipfile.ZipFile(weights, "w") as archive:
            archive.writestr("model/data.pkl", b"x")
            archive.writestr(f"model/extra/{STAMP_KEY}", content)
    elif suffix == ".xml":
        weights.write_text(
            f'<net><rt_info><gtrack><export value="{content.decode("utf-8", "replace").replace(chr(34), "&quot;")}"/>'
            "</gtrack></rt_info></net>"
        )
        weights.with_suffix(".bin").write_bytes(b"x")
    else:
        weights.write_bytes(b"x" * 100)
        weights.with_name(weights.name + ".gtrack.json").write_bytes(b'{"export": ' + content + b"}")
    describe_model(weights).preprocessing()
    weights_identity(weights)


def _check_stamped_file(content: bytes, folder: Path) -> None:
    weights = folder / "model.onnx"
    weights.write_bytes(content)
    _use(weights)


_LITERALS = st.sampled_from(
    [
        *HOSTILE_NUMBERS,
        *HOSTILE_TEXTS,
        *("{'a': 'b'}", "{0: 'person'}", "['a', 'b']", "{0: 1}", "{1.5: 'a'}", "{(1,): 'a'}", "{10**9: 'a'}", "[1, 2]"),
        *("[64, 96]", "[0, 0]", "[-1, 64]", "['a', 'b']", "[1e999, 2]", "(64, 'x')", "[1000000000, 1000000000]"),
        *("(" * 500 + ")" * 500, "[" * 5000, "{'nms': True}", "True", "{**{}}", "-" * 5000 + "1", "detect", "segment"),
        *("classify", "[[1]]", "[nan, 1]", "{None: None}", "{True: 'x'}", "b'x'", "1j", "{-1: 'a'}", "{2**70: 'a'}"),
    ]
).filter(lambda text: "\ud800" not in text)
_METADATA = st.dictionaries(
    st.sampled_from(["names", "imgsz", "task", "args", "end2end", "stride"]), _LITERALS, min_size=1
)


def _check_detector(metadata: dict[str, str], folder: Path) -> None:
    weights = folder / "detector.onnx"
    rows = np.zeros((6, 84), np.float32)
    rows[:, :4] = [10, 10, 8, 8]
    make_fixed_detector(weights, rows.T.copy(), size=("h", "w"), metadata=metadata)
    detector = load_detector(DetectorOptions(weights, device="cpu"))
    detector.detect([np.zeros((64, 96, 3), np.uint8)])
    json.dumps(detector.facts, allow_nan=False)
    json.dumps(dict(detector.class_names)).encode()


TARGETS = (
    Target("sidecar", changed_json([_SIDECAR]), _check_sidecar, "model.onnx", portion=40),
    Target(
        "stamp",
        st.tuples(
            st.deferred(lambda: changed_json([_stamp()])),
            st.sampled_from([".onnx", ".onnx", ".torchscript", ".xml", ".engine", ".tflite"]),
        ),
        _check_stamp,
        "model",
        portion=40,
    ),
    Target(
        "onnx file",
        st.deferred(lambda: changed_bytes(st.just(_stamped()), often=1)),
        _check_stamped_file,
        "model.onnx",
        portion=20,
    ),
    Target("detector metadata", _METADATA, _check_detector, portion=30),
)
